/* Feeds the firmware random requests and damaged frames; fuzz_led [FRAMES [SEED]].
 *
 * Claims, checked at each frame: every sound request gets exactly one reply; no noise ends a run;
 * nothing is lit outside armed, running and manual light. Memory errors are the sanitizers' part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "led_controller.h"
#include "led_hal.h"

static const struct led_config config = {
    .channels = 20, .max_patterns = 8, .max_steps = 16, .timer_resolution_ns = 100,
    .watchdog_ms = 250, .max_chunk = 100, .manual_max_ms = 1000, .product = "fuzzed",
    .firmware_version = "1", .serial = "",
};
static struct led_controller led;
static struct led_decoder listener;
static unsigned long replies, pulses;
static uint8_t last_status;
static uint64_t chance, now_ns;

static uint32_t dice(uint32_t sides)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (uint32_t)(chance >> 20) % sides;
}

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        exit(1);
    }
}

void hal_send(const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = led_decoder_take(&listener, data[i]);
        if (length && listener.body[1] != LED_EVENT_TYPE) {
            replies++;
            last_status = listener.body[12];
        }
    }
}

void hal_pulse(const uint8_t *pattern, uint64_t start_ns, uint64_t width_ns)
{
    (void)pattern, (void)start_ns, (void)width_ns;
    require(led.state == LED_RUNNING, "a pulse only while running");
    pulses++;
}

void hal_sync_edge(uint64_t time_ns) { (void)time_ns; }
void hal_dark(uint64_t time_ns) { (void)time_ns; }
int16_t hal_temperature_centi_c(void) { return 2500; }
uint32_t hal_supply_mv(void) { return 24000; }
int hal_interlock_open(void) { return 0; }

void hal_lights_on(const uint8_t *pattern, uint64_t time_ns)
{
    (void)pattern, (void)time_ns;
    require(led.state == LED_IDLE || led.state == LED_DONE, "manual light only at rest");
}

static size_t make(uint8_t type, const uint8_t *payload, size_t count, uint8_t *frame)
{
    static uint16_t id;
    uint8_t body[LED_MAX_BODY];

    body[0] = LED_PROTOCOL_VERSION;
    body[1] = type;
    led_put(body + 2, ++id, 2);
    if (count)
        memcpy(body + 4, payload, count);
    return led_encode_frame(body, count + 4, frame);
}

static uint8_t ask(uint8_t type, const uint8_t *payload, size_t count)
{
    uint8_t frame[LED_MAX_ENCODED + 1];
    unsigned long before = replies;

    led_receive(&led, frame, make(type, payload, count, frame), now_ns);
    require(replies == before + 1, "exactly one reply to each sound request");
    return last_status;
}

static const uint8_t types[] = {LED_IDENTIFY, LED_STATUS, LED_HEARTBEAT, LED_TABLE_CHUNK,
                                LED_TABLE_COMMIT, LED_ARM, LED_START, LED_STOP, LED_SET_LIGHTS};

static void random_request(void)
{
    uint8_t payload[200];
    uint8_t type = dice(10) ? types[dice(sizeof types)] : (uint8_t)dice(127);
    size_t natural = type == LED_TABLE_COMMIT ? 32 : type == LED_SET_LIGHTS ? 7 : dice(130);
    size_t count = dice(4) ? natural : dice(sizeof payload);

    if (type != LED_TABLE_COMMIT && type != LED_SET_LIGHTS && type != LED_TABLE_CHUNK && dice(4))
        count = 0;
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = dice(3) ? (uint8_t)dice(4) : (uint8_t)dice(256);
    ask(type, payload, count);
}

static void put_run(void)
{
    static const uint8_t lights[] = {0, 0, 0, 0, 0, 0xFF, 0xFF, 0x0F};
    uint8_t steps[5 + 12] = {1}, commit[32] = {0};

    steps[5] = 1;
    led_put(steps + 9, 1000, 4);
    led_put(steps + 13, 500000, 4);
    ask(LED_STOP, NULL, 0);
    require(ask(LED_TABLE_CHUNK, (uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0}, 8) == LED_OK, "chunk");
    require(ask(LED_TABLE_CHUNK, (uint8_t[]){0, 3, 0, 0, 0, 0xFF, 0xFF, 0x0F}, 8) == LED_OK, "chunk");
    require(ask(LED_TABLE_CHUNK, steps, sizeof steps) == LED_OK, "steps");
    led_put(commit, 2, 2);
    led_put(commit + 4, 1, 4);
    led_put(commit + 8, led_crc32(0, (uint8_t[]){0, 0, 0, lights[5], lights[6], lights[7]}, 6), 4);
    led_put(commit + 12, led_crc32(0, steps + 5, 12), 4);
    led_put(commit + 24, 1000000, 4);
    require(ask(LED_TABLE_COMMIT, commit, 32) == LED_OK, "commit");
    require(ask(LED_ARM, NULL, 0) == LED_OK && ask(LED_START, NULL, 0) == LED_OK, "start");
}

static void noise(void)
{
    uint8_t frame[LED_MAX_ENCODED + 1], payload[200] = {0};
    size_t count = make(types[dice(sizeof types)], payload, dice(sizeof payload), frame);
    size_t changed = dice((uint32_t)count - 1);

    switch (dice(4)) {
    case 0: /* one bit */
        frame[changed] ^= (uint8_t)(1u << dice(8));
        break;
    case 1: /* cut off */
        frame[changed] = 0;
        count = changed + 1;
        break;
    case 2: /* a burst of up to 4 bytes */
        for (size_t i = 0; i < 4 && changed + i < count; i++)
            frame[changed + i] ^= (uint8_t)(1u + dice(255));
        break;
    default: /* anything */
        for (size_t i = 0; i < count; i++)
            frame[i] = (uint8_t)dice(256);
    }
    led_receive(&led, frame, count, now_ns);
    led_receive(&led, (uint8_t[]){0}, 1, now_ns);
}

int main(int argc, char **argv)
{
    unsigned long frames = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    unsigned long before;

    chance = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    led_init(&led, &config);
    for (unsigned long i = 0; i < frames / 2; i++) {
        random_request();
        now_ns += dice(8) ? dice(2000000) : dice(300000000);
        if (!dice(5))
            led_strobe(&led, now_ns);
        led_advance(&led, now_ns);
    }
    put_run();
    before = pulses;
    for (unsigned long i = 0; i < frames / 2; i++) {
        noise();
        now_ns += dice(2000000);
        if (i % 50 == 0)
            ask(LED_HEARTBEAT, NULL, 0);
        led_advance(&led, now_ns);
        require(led.state == LED_RUNNING, "no noise ends a run");
    }
    require(pulses > before, "pulses go on under noise");
    printf("%lu frames, %lu replies, %lu pulses, %lu bad frames\n", frames, replies, pulses,
           (unsigned long)led.decoder.bad_frames);
    return 0;
}
