/* The firmware on a workstation: behind a pseudo-terminal in real time, or from a script.
 *
 *   led_host [--log FILE] [--channels N]   prints "serial:/dev/pts/N" and serves it until its
 *       standard input ends. Lines there move its inputs: "strobe", "interlock 0|1",
 *       "temperature CENTI_C", "supply MILLIVOLT". The log has a line each for a pulse
 *       ("P start end channels"), manual lights ("M start channels"), darkness ("D time") and
 *       F-Sync ("E time"), in ns of CLOCK_MONOTONIC.
 *   led_host --script [--channels N]       reads lines "R time_ns HEX" (bytes from the line),
 *       "A time_ns" (time passes), "S time_ns" (strobe), "I 0|1", "T CENTI_C", "V MILLIVOLT",
 *       and answers each with a line: the bytes sent, in hex, or "-".
 */
#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 600
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "led_controller.h"
#include "led_hal.h"

#define HELD_UP_NS UINT64_C(100000000)
#define SENT_BYTES 65536u

static struct led_config config = {
    .channels = 96,
    .max_patterns = 1024,
    .max_steps = LED_MAX_STEPS,
    .timer_resolution_ns = 100,
    .watchdog_ms = 250,
    .max_chunk = 240,
    .manual_max_ms = 60000,
    .late_limit_ns = 0, /* a workstation is late at times; its pulses are only written down */
    .product = "reference LED controller",
    .firmware_version = "1.0.0",
    .serial = "HOST-1",
};
static struct led_controller led;
static FILE *journal;
static uint64_t boot_ns;
static int master = -1;
static uint8_t sent[SENT_BYTES];
static size_t sent_count;
static int16_t temperature = 3500;
static uint32_t supply = 24000;
static int interlock;

void hal_send(const uint8_t *data, size_t count)
{
    if (master >= 0) {
        /* where nobody reads and the line is full, what is sent is lost, as on a wire */
        ssize_t written = write(master, data, count);
        (void)written;
    } else if (count <= SENT_BYTES - sent_count) {
        memcpy(sent + sent_count, data, count);
        sent_count += count;
    }
}

static void write_channels(const uint8_t *pattern)
{
    const char *separator = "";

    for (unsigned channel = 0; channel < config.channels; channel++)
        if (pattern[channel / 8u] >> channel % 8u & 1u) {
            fprintf(journal, "%s%u", separator, channel);
            separator = ",";
        }
    fprintf(journal, "\n");
}

void hal_pulse(const uint8_t *pattern, uint64_t start_ns, uint64_t width_ns)
{
    if (!journal)
        return;
    start_ns += boot_ns;
    fprintf(journal, "P %" PRIu64 " %" PRIu64 " ", start_ns, start_ns + width_ns);
    write_channels(pattern);
}

void hal_sync_edge(uint64_t time_ns)
{
    if (journal)
        fprintf(journal, "E %" PRIu64 "\n", boot_ns + time_ns);
}

void hal_lights_on(const uint8_t *pattern, uint64_t time_ns)
{
    if (!journal)
        return;
    fprintf(journal, "M %" PRIu64 " ", boot_ns + time_ns);
    write_channels(pattern);
}

void hal_dark(uint64_t time_ns)
{
    if (journal)
        fprintf(journal, "D %" PRIu64 "\n", boot_ns + time_ns);
}

int16_t hal_temperature_centi_c(void) { return temperature; }
uint32_t hal_supply_mv(void) { return supply; }
int hal_interlock_open(void) { return interlock; }

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static size_t from_hex(const char *text, uint8_t *bytes, size_t room)
{
    size_t count = 0;
    unsigned value;

    while (count < room && sscanf(text + 2 * count, "%2x", &value) == 1)
        bytes[count++] = (uint8_t)value;
    return count;
}

static int run_script(void)
{
    static char line[262144];
    static uint8_t bytes[sizeof line / 2];

    while (fgets(line, sizeof line, stdin)) {
        char *rest = line + 1;
        uint64_t value = strtoull(line + 1, &rest, 10);
        switch (line[0]) {
        case 'R':
            rest += *rest == ' ';
            led_receive(&led, bytes, from_hex(rest, bytes, sizeof bytes), value);
            break;
        case 'A': led_advance(&led, value); break;
        case 'S': led_strobe(&led, value); break;
        case 'I': interlock = (int)value; break;
        case 'T': temperature = (int16_t)value; break;
        case 'V': supply = (uint32_t)value; break;
        default: return 2;
        }
        for (size_t i = 0; i < sent_count; i++)
            printf("%02x", sent[i]);
        printf("%s\n", sent_count ? "" : "-");
        fflush(stdout);
        sent_count = 0;
    }
    return 0;
}

static void obey(const char *line, uint64_t now_ns)
{
    long value = 0;

    if (!strncmp(line, "strobe", 6))
        led_strobe(&led, now_ns);
    else if (sscanf(line, "interlock %ld", &value) == 1)
        interlock = (int)value;
    else if (sscanf(line, "temperature %ld", &value) == 1)
        temperature = (int16_t)value;
    else if (sscanf(line, "supply %ld", &value) == 1)
        supply = (uint32_t)value;
}

/* Reads what standard input has; returns 0 at its end. */
static int take_lines(uint64_t now_ns)
{
    static char line[256];
    static size_t length;
    char data[256];
    ssize_t count = read(STDIN_FILENO, data, sizeof data);

    for (ssize_t i = 0; i < count; i++) {
        if (data[i] == '\n') {
            line[length] = 0;
            obey(line, now_ns);
            length = 0;
        } else if (length < sizeof line - 1) {
            line[length++] = data[i];
        }
    }
    return count > 0;
}

static int open_terminal(void)
{
    struct termios mode;
    int slave;

    master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master))
        return -1;
    /* kept open, so that the line outlives its clients */
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0 || tcgetattr(slave, &mode))
        return -1;
    cfmakeraw(&mode);
    if (tcsetattr(slave, TCSANOW, &mode) || fcntl(master, F_SETFL, O_NONBLOCK))
        return -1;
    printf("serial:%s\n", ptsname(master));
    fflush(stdout);
    return 0;
}

static int serve(void)
{
    uint64_t last_ns = 0;

    for (;;) {
        struct pollfd waits[2] = {{.fd = master, .events = POLLIN},
                                  {.fd = STDIN_FILENO, .events = POLLIN}};
        uint8_t data[4096];
        uint64_t now_ns;

        if (poll(waits, 2, 1) < 0 && errno != EINTR)
            return 3;
        now_ns = clock_ns() - boot_ns;
        if (waits[0].revents & POLLIN) {
            ssize_t count = read(master, data, sizeof data);
            /* bytes that waited while this process was held up came in time */
            uint64_t arrived_ns = now_ns - last_ns > HELD_UP_NS ? last_ns + HELD_UP_NS : now_ns;
            if (count > 0)
                led_receive(&led, data, (size_t)count, arrived_ns);
        }
        if (waits[1].revents && !take_lines(now_ns)) {
            hal_dark(now_ns);
            return 0;
        }
        led_advance(&led, now_ns);
        last_ns = now_ns;
        if (journal)
            fflush(journal);
    }
}

int main(int argc, char **argv)
{
    int script = 0, result;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--script")) {
            script = 1;
        } else if (!strcmp(argv[i], "--log") && i + 1 < argc) {
            journal = fopen(argv[++i], "w");
            if (!journal) {
                perror(argv[i]);
                return 2;
            }
        } else if (!strcmp(argv[i], "--channels") && i + 1 < argc) {
            config.channels = (uint16_t)strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: led_host [--script] [--log FILE] [--channels N]\n");
            return 2;
        }
    }
    if (!config.channels || config.channels > LED_MAX_CHANNELS) {
        fprintf(stderr, "channels: 1 to %u\n", LED_MAX_CHANNELS);
        return 2;
    }
    config.max_patterns = (uint16_t)(LED_PATTERN_TABLE_BYTES / ((config.channels + 7u) / 8u));
    if (config.max_patterns > 1024u)
        config.max_patterns = 1024u;
    if (!script) {
        boot_ns = clock_ns();
        if (open_terminal()) {
            perror("pseudo-terminal");
            return 3;
        }
    }
    led_init(&led, &config);
    result = script ? run_script() : serve();
    if (journal)
        fclose(journal);
    return result;
}
