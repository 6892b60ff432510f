/* Requests and what is answered: specification, sections 3 to 6. */
#include <string.h>

#include "led_controller.h"
#include "led_hal.h"

#define REPLY_HEAD 13u
#define IDENTITY_MAX (20u + 3u * 256u)

uint32_t led_get32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

uint8_t *led_put(uint8_t *to, uint64_t value, int bytes)
{
    while (bytes--) {
        *to++ = (uint8_t)value;
        value >>= 8;
    }
    return to;
}

static void send_frame(const uint8_t *body, size_t count)
{
    uint8_t frame[LED_MAX_ENCODED + 1u];

    hal_send(frame, led_encode_frame(body, count, frame));
}

void led_report(struct led_controller *led, uint8_t kind, uint32_t argument, uint64_t now_ns)
{
    uint8_t body[18], *at = body;

    at = led_put(at, LED_PROTOCOL_VERSION, 1);
    at = led_put(at, LED_EVENT_TYPE, 1);
    at = led_put(at, led->events++, 2);
    at = led_put(at, now_ns / 1000u, 8);
    at = led_put(at, kind, 1);
    at = led_put(at, argument, 4);
    send_frame(body, (size_t)(at - body));
}

static uint8_t *put_text(uint8_t *to, const char *text)
{
    size_t length = strlen(text);

    length = length > 255u ? 255u : length;
    *to++ = (uint8_t)length;
    memcpy(to, text, length);
    return to + length;
}

static uint8_t *identity(const struct led_controller *led, uint8_t *at)
{
    const struct led_config *config = led->config;

    at = led_put(at, config->channels, 2);
    at = led_put(at, config->max_patterns, 2);
    at = led_put(at, config->max_steps, 4);
    at = led_put(at, config->timer_resolution_ns, 4);
    at = led_put(at, config->watchdog_ms, 2);
    at = led_put(at, config->max_chunk, 2);
    at = led_put(at, config->manual_max_ms, 4);
    at = put_text(at, config->product);
    at = put_text(at, config->firmware_version);
    return put_text(at, config->serial);
}

static uint8_t *status(const struct led_controller *led, uint8_t *at)
{
    at = led_put(at, led->state, 1);
    at = led_put(at, led->manual_until_ns != LED_NEVER, 1);
    at = led_put(at, led->faults, 2);
    at = led_put(at, (uint16_t)hal_temperature_centi_c(), 2);
    at = led_put(at, 0, 2);
    at = led_put(at, led->supply_min_mv, 4);
    at = led_put(at, led->edges_in, 4);
    at = led_put(at, led->triggers_out, 4);
    at = led_put(at, led->steps_executed, 4);
    at = led_put(at, led->steps_missed, 4);
    at = led_put(at, led->next_step, 4);
    return led_put(at, led->decoder.bad_frames + led->bad_messages, 4);
}

static int is_busy(const struct led_controller *led)
{
    return led->state == LED_ARMED || led->state == LED_RUNNING;
}

static int lights_beyond_last(const struct led_controller *led, const uint8_t *pattern)
{
    unsigned used = led->config->channels % 8u;

    return used && pattern[led_pattern_bytes(led) - 1u] >> used;
}

static uint8_t chunk(struct led_controller *led, const uint8_t *payload, size_t count)
{
    size_t size;
    uint8_t *table;
    uint32_t offset;

    if (count < 6u || count - 5u > led->config->max_chunk)
        return LED_BAD_LENGTH;
    if (is_busy(led))
        return LED_BUSY;
    if (payload[0] == 0) {
        table = led->pattern_table;
        size = led->config->max_patterns * led_pattern_bytes(led);
    } else if (payload[0] == 1) {
        table = led->step_table;
        size = led->config->max_steps * LED_STEP_BYTES;
    } else {
        return LED_BAD_ARGUMENT;
    }
    offset = led_get32(payload + 1);
    count -= 5u;
    if (offset > size || count > size - offset)
        return LED_BAD_ARGUMENT;
    led->program.valid = 0;
    memcpy(table + offset, payload + 5, count);
    return LED_OK;
}

static uint8_t check_tables(const struct led_controller *led, const struct led_program *program)
{
    for (uint32_t i = 0; i < program->pattern_count; i++)
        if (lights_beyond_last(led, led->pattern_table + i * led_pattern_bytes(led)))
            return LED_BAD_ARGUMENT;
    for (uint32_t i = 0; i < program->step_count; i++) {
        const uint8_t *step = led->step_table + i * LED_STEP_BYTES;
        uint64_t end_ns = (uint64_t)led_get32(step + 4) + led_get32(step + 8);
        if (((uint32_t)step[0] | (uint32_t)step[1] << 8) >= program->pattern_count ||
            end_ns > program->period_ns)
            return LED_BAD_ARGUMENT;
    }
    return LED_OK;
}

static uint8_t commit(struct led_controller *led, const uint8_t *payload, size_t count)
{
    const struct led_config *config = led->config;
    struct led_program program;
    uint8_t result;

    if (count != 32u)
        return LED_BAD_LENGTH;
    if (is_busy(led))
        return LED_BUSY;
    led->program.valid = 0;
    program.pattern_count = (uint16_t)(payload[0] | payload[1] << 8);
    program.master = payload[2];
    program.step_count = led_get32(payload + 4);
    program.loop_from = led_get32(payload + 16);
    program.step_limit = led_get32(payload + 20);
    program.period_ns = led_get32(payload + 24);
    program.exposure_delay_ns = led_get32(payload + 28);
    if (!program.pattern_count || program.pattern_count > config->max_patterns ||
        !program.step_count || program.step_count > config->max_steps ||
        program.master > LED_MASTER_CAMERA || program.loop_from >= program.step_count ||
        program.period_ns < LED_MIN_PERIOD_NS || program.exposure_delay_ns >= program.period_ns)
        return LED_BAD_ARGUMENT;
    if (led_crc32(0, led->pattern_table, program.pattern_count * led_pattern_bytes(led)) !=
            led_get32(payload + 8) ||
        led_crc32(0, led->step_table, program.step_count * LED_STEP_BYTES) !=
            led_get32(payload + 12))
        return LED_TABLE_CRC;
    result = check_tables(led, &program);
    program.valid = result == LED_OK;
    if (program.valid)
        led->program = program;
    return result;
}

static uint8_t arm(struct led_controller *led, uint64_t now_ns)
{
    if (led->state == LED_RUNNING)
        return LED_BUSY;
    if (!led_acknowledge_faults(led))
        return LED_FAULT_ACTIVE;
    if (!led->program.valid)
        return LED_NO_PROGRAM;
    led_go_dark(led, LED_ARMED, now_ns);
    led->edges_in = led->triggers_out = led->steps_executed = led->steps_missed = 0;
    led->next_step = led->next_index = 0;
    led->busy_until_ns = 0;
    led->supply_min_mv = led->supply_now_mv;
    led->start_id = -1;
    return LED_OK;
}

static uint8_t start(struct led_controller *led, uint16_t id, uint64_t now_ns)
{
    if (led->start_id == id && (led->state == LED_RUNNING || led->state == LED_DONE))
        return LED_OK; /* its reply was lost, so it is asked again */
    if (led->state != LED_ARMED)
        return LED_WRONG_STATE;
    led->start_id = id;
    led->state = LED_RUNNING;
    if (led->program.master == LED_MASTER_CONTROLLER) {
        led->begin_ns = now_ns;
        led_advance(led, now_ns);
    }
    return LED_OK;
}

static uint8_t set_lights(struct led_controller *led, const uint8_t *payload, size_t count,
                          uint64_t now_ns)
{
    uint32_t duration_ms;
    int any = 0;

    if (count != 4u + led_pattern_bytes(led))
        return LED_BAD_LENGTH;
    if (is_busy(led))
        return LED_BUSY;
    duration_ms = led_get32(payload);
    payload += 4;
    if (lights_beyond_last(led, payload) || duration_ms > led->config->manual_max_ms)
        return LED_BAD_ARGUMENT;
    if (!led_acknowledge_faults(led))
        return LED_FAULT_ACTIVE;
    hal_dark(now_ns);
    led->manual_until_ns = LED_NEVER;
    for (size_t i = 0; i < led_pattern_bytes(led); i++)
        any |= payload[i];
    if (any && duration_ms) {
        led->manual_until_ns = now_ns + duration_ms * UINT64_C(1000000);
        hal_lights_on(payload, now_ns);
    }
    return LED_OK;
}

void led_answer(struct led_controller *led, const uint8_t *body, size_t count, uint64_t now_ns)
{
    uint8_t reply[REPLY_HEAD + IDENTITY_MAX], *end = reply + REPLY_HEAD, result;
    const uint8_t *payload = body + LED_HEADER_BYTES;
    uint16_t id;

    if (count < LED_HEADER_BYTES || (body[1] | LED_REPLY_BIT) == LED_EVENT_TYPE ||
        body[1] & LED_REPLY_BIT) {
        led->bad_messages++;
        return;
    }
    led->last_request_ns = now_ns;
    count -= LED_HEADER_BYTES;
    id = (uint16_t)(body[2] | body[3] << 8);
    result = count ? LED_BAD_LENGTH : LED_OK; /* of those without a payload */
    if (body[0] != LED_PROTOCOL_VERSION) {
        result = LED_BAD_VERSION;
    } else {
        switch (body[1]) {
        case LED_IDENTIFY:
            if (result == LED_OK)
                end = identity(led, end);
            break;
        case LED_STATUS:
            if (result == LED_OK)
                end = status(led, end);
            break;
        case LED_HEARTBEAT:
            if (result == LED_OK) {
                *end++ = led->state;
                *end++ = led->manual_until_ns != LED_NEVER;
            }
            break;
        case LED_TABLE_CHUNK:
            result = chunk(led, payload, count);
            break;
        case LED_TABLE_COMMIT:
            result = commit(led, payload, count);
            break;
        case LED_ARM:
            result = result == LED_OK ? arm(led, now_ns) : result;
            break;
        case LED_START:
            result = result == LED_OK ? start(led, id, now_ns) : result;
            break;
        case LED_STOP:
            /* whatever the payload: nothing is a reason not to go dark */
            led_go_dark(led, led->state == LED_FAULT ? LED_FAULT : LED_IDLE, now_ns);
            result = LED_OK;
            break;
        case LED_SET_LIGHTS:
            result = set_lights(led, payload, count, now_ns);
            break;
        default:
            result = LED_UNKNOWN_TYPE;
        }
    }
    led_put(reply, LED_PROTOCOL_VERSION, 1);
    led_put(reply + 1, body[1] | LED_REPLY_BIT, 1);
    led_put(reply + 2, id, 2);
    led_put(reply + 4, now_ns / 1000u, 8);
    led_put(reply + 12, result, 1);
    send_frame(reply, (size_t)(end - reply));
}
