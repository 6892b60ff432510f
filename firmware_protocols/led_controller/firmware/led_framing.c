#include "led_framing.h"

uint32_t led_crc32(uint32_t crc, const uint8_t *data, size_t count)
{
    crc = ~crc;
    while (count--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

void led_decoder_reset(struct led_decoder *decoder)
{
    decoder->count = 0;
    decoder->received = 0;
    decoder->left = 0;
    decoder->zero_due = 0;
    decoder->spoilt = 0;
}

static void put(struct led_decoder *decoder, uint8_t byte)
{
    if (decoder->count < sizeof decoder->body)
        decoder->body[decoder->count++] = byte;
    else
        decoder->spoilt = 1;
}

static size_t finish(struct led_decoder *decoder)
{
    size_t count = decoder->count;
    int empty = decoder->received == 0;
    int sound = !decoder->spoilt && decoder->left == 0 && count > 4;

    if (sound) {
        const uint8_t *end = decoder->body + count - 4;
        uint32_t sent = (uint32_t)end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 |
                        (uint32_t)end[3] << 24;
        sound = led_crc32(0, decoder->body, count - 4) == sent;
    }
    led_decoder_reset(decoder);
    if (sound)
        return count - 4;
    if (!empty)
        decoder->bad_frames++;
    return 0;
}

size_t led_decoder_take(struct led_decoder *decoder, uint8_t byte)
{
    if (byte == 0)
        return finish(decoder);
    if (decoder->received <= LED_MAX_ENCODED)
        decoder->received++;
    if (decoder->received > LED_MAX_ENCODED)
        decoder->spoilt = 1;
    if (decoder->spoilt)
        return 0;
    if (decoder->left) {
        decoder->left--;
        put(decoder, byte);
        return 0;
    }
    /* a block's first byte: how far the next zero is; a full block stands for no zero */
    if (decoder->zero_due)
        put(decoder, 0);
    decoder->left = (uint8_t)(byte - 1);
    decoder->zero_due = byte != 0xFF;
    return 0;
}

size_t led_encode_frame(const uint8_t *body, size_t count, uint8_t *frame)
{
    uint32_t crc = led_crc32(0, body, count);
    size_t code_at = 0, at = 1;
    uint8_t code = 1;

    for (size_t i = 0; i < count + 4; i++) {
        uint8_t byte = i < count ? body[i] : (uint8_t)(crc >> (8 * (i - count)));
        if (code == 0xFF) {
            frame[code_at] = code;
            code_at = at++;
            code = 1;
        }
        if (byte == 0) {
            frame[code_at] = code;
            code_at = at++;
            code = 1;
        } else {
            frame[at++] = byte;
            code++;
        }
    }
    frame[code_at] = code;
    frame[at++] = 0;
    return at;
}
