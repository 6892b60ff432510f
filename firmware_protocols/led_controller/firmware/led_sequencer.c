/* Time: steps, edges, watchdog, faults. What is due is done in the order of its times. */
#include "led_controller.h"

#include <string.h>

#include "led_hal.h"

void led_init(struct led_controller *led, const struct led_config *config)
{
    memset(led, 0, sizeof *led);
    led->config = config;
    led->start_id = -1;
    led->supply_now_mv = led->supply_min_mv = UINT32_MAX;
    led->begin_ns = led->edge_ns = led->done_ns = led->manual_until_ns = LED_NEVER;
    led_decoder_reset(&led->decoder);
    led_report(led, LED_EVENT_BOOTED, 0, 0);
}

size_t led_pattern_bytes(const struct led_controller *led)
{
    return (led->config->channels + 7u) / 8u;
}

static uint16_t causes(const struct led_controller *led)
{
    uint16_t found = 0;

    if (hal_temperature_centi_c() > LED_OVER_TEMPERATURE_CENTI_C)
        found |= LED_FAULT_OVER_TEMPERATURE;
    if (led->supply_now_mv < LED_UNDER_VOLTAGE_MV)
        found |= LED_FAULT_UNDER_VOLTAGE;
    if (hal_interlock_open())
        found |= LED_FAULT_INTERLOCK;
    return found;
}

void led_go_dark(struct led_controller *led, uint8_t state, uint64_t now_ns)
{
    led->begin_ns = led->edge_ns = led->done_ns = led->manual_until_ns = LED_NEVER;
    hal_dark(now_ns);
    led->state = state;
}

static void fail(struct led_controller *led, uint16_t found, uint64_t now_ns)
{
    led->faults |= found;
    led_go_dark(led, LED_FAULT, now_ns);
    led_report(led, LED_EVENT_FAULT, led->faults, now_ns);
}

int led_acknowledge_faults(struct led_controller *led)
{
    led->faults = causes(led);
    if (led->state == LED_FAULT && !led->faults)
        led->state = LED_IDLE;
    return !led->faults;
}

static int limit_reached(const struct led_controller *led)
{
    return led->program.step_limit && led->next_step >= led->program.step_limit;
}

static void next_step(struct led_controller *led)
{
    led->next_step++;
    if (++led->next_index >= led->program.step_count)
        led->next_index = led->program.loop_from;
}

static void miss(struct led_controller *led, uint64_t now_ns)
{
    led_report(led, LED_EVENT_STEP_MISSED, led->next_step, now_ns);
    led->steps_missed++;
    next_step(led);
}

static void execute(struct led_controller *led, uint64_t at_ns)
{
    const uint8_t *step = led->step_table + led->next_index * LED_STEP_BYTES;
    uint32_t pattern = (uint32_t)step[0] | (uint32_t)step[1] << 8;
    uint64_t start_ns = at_ns + led_get32(step + 4);
    uint32_t width_ns = led_get32(step + 8);

    if (width_ns)
        hal_pulse(led->pattern_table + pattern * led_pattern_bytes(led), start_ns, width_ns);
    led->busy_until_ns = start_ns + width_ns;
    led->steps_executed++;
    next_step(led);
}

static void begin(struct led_controller *led, uint64_t at_ns, uint64_t now_ns)
{
    if (led->config->late_limit_ns && now_ns - at_ns > led->config->late_limit_ns)
        miss(led, now_ns); /* a late pulse would light the wrong part of the exposure */
    else
        execute(led, at_ns);
    led->edge_ns = at_ns + led->program.exposure_delay_ns;
    led->begin_ns = at_ns + led->program.period_ns;
    if (limit_reached(led)) {
        led->done_ns = led->begin_ns;
        led->begin_ns = LED_NEVER;
    }
}

static uint64_t watchdog_ns(const struct led_controller *led)
{
    int lit = led->state == LED_ARMED || led->state == LED_RUNNING ||
              led->manual_until_ns != LED_NEVER;

    return lit ? led->last_request_ns + led->config->watchdog_ms * UINT64_C(1000000) : LED_NEVER;
}

uint64_t led_next_ns(const struct led_controller *led)
{
    uint64_t next = led->edge_ns, bite = watchdog_ns(led);

    next = led->done_ns < next ? led->done_ns : next;
    next = led->manual_until_ns < next ? led->manual_until_ns : next;
    next = bite < next ? bite : next;
    return led->begin_ns < next ? led->begin_ns : next;
}

void led_advance(struct led_controller *led, uint64_t now_ns)
{
    uint64_t at;

    while ((at = led_next_ns(led)) <= now_ns) {
        /* of equal times, what ends comes first */
        if (at == led->edge_ns) {
            led->edge_ns = LED_NEVER;
            led->triggers_out++;
            hal_sync_edge(at);
        } else if (at == led->done_ns) {
            led_go_dark(led, LED_DONE, at);
            led_report(led, LED_EVENT_DONE, led->steps_executed, at);
        } else if (at == led->manual_until_ns) {
            led->manual_until_ns = LED_NEVER;
            hal_dark(at);
            led_report(led, LED_EVENT_LIGHTS_TIMED_OUT, 0, at);
        } else if (at == watchdog_ns(led)) {
            fail(led, LED_FAULT_WATCHDOG, at);
        } else {
            begin(led, at, now_ns);
        }
    }
    led->supply_now_mv = hal_supply_mv();
    if (led->supply_now_mv < led->supply_min_mv)
        led->supply_min_mv = led->supply_now_mv;
    if (causes(led) & ~led->faults)
        fail(led, causes(led), now_ns);
}

void led_strobe(struct led_controller *led, uint64_t now_ns)
{
    if (!led->program.valid) {
        led_advance(led, now_ns);
        return;
    }
    if (led->program.master == LED_MASTER_CONTROLLER) {
        /* the camera's echo of our own edges: counted only, also when it comes late */
        if (led->state == LED_RUNNING || led->state == LED_DONE)
            led->edges_in++;
        return;
    }
    led_advance(led, now_ns);
    if (led->state != LED_RUNNING || limit_reached(led))
        return;
    led->edges_in++;
    if (now_ns < led->busy_until_ns)
        miss(led, now_ns);
    else
        execute(led, now_ns);
    if (limit_reached(led))
        led->done_ns = now_ns + led->program.period_ns;
}

void led_receive(struct led_controller *led, const uint8_t *data, size_t count, uint64_t now_ns)
{
    led_advance(led, now_ns);
    while (count--) {
        size_t length = led_decoder_take(&led->decoder, *data++);
        if (length)
            led_answer(led, led->decoder.body, length, now_ns);
    }
}
