/* The LED controller: protocol, tables, sequencer and state machine; no malloc, no clock, no
 * threads. Call from one context only (or with interrupts held off):
 *   led_init once; led_receive with what the serial line brought; led_advance at least every
 *   millisecond and when a timer for led_next_ns ends; led_strobe on the camera's edge.
 */
#ifndef LED_CONTROLLER_H
#define LED_CONTROLLER_H

#include <stddef.h>
#include <stdint.h>

#include "led_framing.h"
#include "led_protocol.h"

/* What the tables hold; a board with less memory defines less. */
#ifndef LED_MAX_CHANNELS
#define LED_MAX_CHANNELS 512u
#endif
#ifndef LED_PATTERN_TABLE_BYTES
#define LED_PATTERN_TABLE_BYTES 16384u
#endif
#ifndef LED_MAX_STEPS
#define LED_MAX_STEPS 4096u
#endif

struct led_config {
    uint16_t channels;     /* 1 ... LED_MAX_CHANNELS */
    uint16_t max_patterns; /* times bytes of a pattern: at most LED_PATTERN_TABLE_BYTES */
    uint32_t max_steps;    /* at most LED_MAX_STEPS */
    uint32_t timer_resolution_ns;
    uint16_t watchdog_ms; /* at most 250 */
    uint16_t max_chunk;   /* at most LED_MAX_BODY - 9 */
    uint32_t manual_max_ms;
    uint64_t late_limit_ns; /* a step begun later than this is missed; 0 = never */
    const char *product, *firmware_version, *serial; /* each at most 255 bytes */
};

struct led_program {
    uint16_t pattern_count;
    uint8_t master, valid;
    uint32_t step_count, loop_from, step_limit, period_ns, exposure_delay_ns;
};

struct led_controller {
    const struct led_config *config;
    struct led_decoder decoder;
    struct led_program program;
    uint8_t pattern_table[LED_PATTERN_TABLE_BYTES];
    uint8_t step_table[LED_MAX_STEPS * LED_STEP_BYTES];
    uint32_t bad_messages;
    uint16_t events;
    uint8_t state;
    uint16_t faults;
    int32_t start_id; /* id of the START that began this run; -1 = none */
    uint32_t edges_in, triggers_out, steps_executed, steps_missed;
    uint32_t next_step, next_index; /* number since start; place in the table */
    uint32_t supply_now_mv, supply_min_mv;
    uint64_t last_request_ns, begin_ns, edge_ns, done_ns, manual_until_ns, busy_until_ns;
};

/* A moment that never comes. */
#define LED_NEVER UINT64_MAX

void led_init(struct led_controller *led, const struct led_config *config);
void led_receive(struct led_controller *led, const uint8_t *data, size_t count, uint64_t now_ns);
void led_advance(struct led_controller *led, uint64_t now_ns);
void led_strobe(struct led_controller *led, uint64_t now_ns);

/* When led_advance must be called next at the latest. */
uint64_t led_next_ns(const struct led_controller *led);

/* Between the two sources of the controller: led_sequencer.c offers these to led_requests.c. */
void led_go_dark(struct led_controller *led, uint8_t state, uint64_t now_ns);
void led_report(struct led_controller *led, uint8_t kind, uint32_t argument, uint64_t now_ns);
int led_acknowledge_faults(struct led_controller *led);
void led_answer(struct led_controller *led, const uint8_t *body, size_t count, uint64_t now_ns);
size_t led_pattern_bytes(const struct led_controller *led);
uint32_t led_get32(const uint8_t *from);
uint8_t *led_put(uint8_t *to, uint64_t value, int bytes);

#endif
