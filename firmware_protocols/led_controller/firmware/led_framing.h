/* COBS frames with a CRC-32: specification, section 2. */
#ifndef LED_FRAMING_H
#define LED_FRAMING_H

#include <stddef.h>
#include <stdint.h>

#include "led_protocol.h"

/* Gathers the bytes of one frame, undoing COBS as they come. */
struct led_decoder {
    uint8_t body[LED_MAX_BODY + 4u];
    size_t count;     /* bytes in body */
    size_t received;  /* encoded bytes since the last delimiter */
    uint8_t left;     /* data bytes left in this COBS block */
    uint8_t zero_due; /* a zero belongs before the next block */
    uint8_t spoilt;   /* this frame is not sound: wait for the delimiter */
    uint32_t bad_frames;
};

/* CRC-32 as Ethernet's and zlib's; begin with crc = 0. */
uint32_t led_crc32(uint32_t crc, const uint8_t *data, size_t count);

void led_decoder_reset(struct led_decoder *decoder);

/* Takes one byte; returns the length of a sound body in decoder->body, 0 while there is none. */
size_t led_decoder_take(struct led_decoder *decoder, uint8_t byte);

/* Encodes body and its CRC into frame (at least LED_MAX_ENCODED + 1 bytes); returns its length,
 * the delimiter included. */
size_t led_encode_frame(const uint8_t *body, size_t count, uint8_t *frame);

#endif
