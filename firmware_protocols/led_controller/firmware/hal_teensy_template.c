/* Template of the hardware layer for a Teensy 4.x-class board (Cortex-M7, 600 MHz).
 *
 * It compiles as it is and lights nothing: fill in what is marked BOARD. What must hold:
 *
 *   Outputs    One GPIO (or one bit of a shift register of constant-current drivers, e.g. 6 x
 *              TLC5940-class chips for 96 channels) a channel, and one common OUTPUT ENABLE line
 *              that a hardware timer drives. hal_pulse() loads the pattern into the registers
 *              while OUTPUT ENABLE is off, then arms a one-shot compare: on at start_ns, off at
 *              start_ns + width_ns. So jitter is the timer's, not the software's.
 *   Fail dark  OUTPUT ENABLE needs a pull-down, so that reset, brown-out and an unplugged board
 *              are dark. Start the chip's own watchdog (WDOG1, 100 ms) in board_init() and feed it
 *              in the loop below: it covers a crash of this program, the protocol's watchdog a
 *              crash of the host. Wire the interlock into OUTPUT ENABLE as well, by an AND gate.
 *   F-Sync     One GPIO through a 5 V TTL buffer to the camera; high for 10 us from
 *              hal_sync_edge() on. Better: a second compare channel of the same timer.
 *   Strobe     An input capture pin. Its interrupt stores the captured time; the loop hands it to
 *              led_strobe(), so that all of led_controller runs in one context.
 *   Clock      A free-running 64-bit count of ns since boot: extend GPT2 (24 MHz or 150 MHz) by
 *              its overflows. It must never run backwards.
 *   Serial     USB CDC: hal_send() writes into the transmit ring and drops what does not fit.
 *   Budget     96 channels, 1000 steps/s: led_advance() takes some microseconds a step.
 *              Call it from the loop below without anything slow beside it. late_limit_ns makes
 *              a step that could not begin in time dark and counted, not wrong.
 */
#include "led_controller.h"
#include "led_hal.h"

static const struct led_config config = {
    .channels = 96, /* BOARD: yours */
    .max_patterns = 1024,
    .max_steps = LED_MAX_STEPS,
    .timer_resolution_ns = 42, /* BOARD: one count of the pulse timer */
    .watchdog_ms = 250,
    .max_chunk = 240,
    .manual_max_ms = 60000,
    .late_limit_ns = 20000, /* the shortest lead_us you allow before an exposure */
    .product = "Teensy LED controller", /* BOARD: yours */
    .firmware_version = "1.0.0",
    .serial = "0", /* BOARD: from the chip's unique id */
};
static struct led_controller led;

void hal_send(const uint8_t *data, size_t count)
{
    (void)data, (void)count; /* BOARD: usb_serial_write_buffer_free() >= count, then write */
}

void hal_pulse(const uint8_t *pattern, uint64_t start_ns, uint64_t width_ns)
{
    (void)pattern, (void)start_ns, (void)width_ns; /* BOARD: load registers, arm the compare */
}

void hal_sync_edge(uint64_t time_ns)
{
    (void)time_ns; /* BOARD: pin high, one-shot for low */
}

void hal_lights_on(const uint8_t *pattern, uint64_t time_ns)
{
    (void)pattern, (void)time_ns; /* BOARD: load registers, OUTPUT ENABLE on */
}

void hal_dark(uint64_t time_ns)
{
    (void)time_ns; /* BOARD: OUTPUT ENABLE off first, then disarm the compare, clear registers */
}

int16_t hal_temperature_centi_c(void)
{
    return 2500; /* BOARD: ADC; a broken sensor must read hot, not cold */
}

uint32_t hal_supply_mv(void)
{
    return 24000; /* BOARD: ADC, the lowest since the last call */
}

int hal_interlock_open(void)
{
    return 0; /* BOARD: pin with pull-up, closed = low, so that a cut wire is open */
}

static uint64_t board_now_ns(void)
{
    return 0; /* BOARD: the 64-bit clock */
}

static size_t board_serial_read(uint8_t *data, size_t room)
{
    (void)data, (void)room; /* BOARD: what has come, without waiting */
    return 0;
}

static int board_take_strobe(uint64_t *time_ns)
{
    (void)time_ns; /* BOARD: nonzero and the captured time, once for each edge */
    return 0;
}

int main(void)
{
    /* BOARD: clocks, pins dark, timers, USB, the chip's watchdog */
    led_init(&led, &config);
    for (;;) {
        uint8_t data[64];
        uint64_t strobe_ns;
        size_t count = board_serial_read(data, sizeof data);

        while (board_take_strobe(&strobe_ns))
            led_strobe(&led, strobe_ns);
        if (count)
            led_receive(&led, data, count, board_now_ns());
        led_advance(&led, board_now_ns());
        /* BOARD: feed the chip's watchdog */
    }
}
