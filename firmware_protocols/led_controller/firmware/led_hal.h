/* What the firmware needs of a board. Implement these for yours: hal_teensy_template.c says how,
 * hal_host.c does it on a workstation. All times are nanoseconds of the board's clock, 0 = boot.
 */
#ifndef LED_HAL_H
#define LED_HAL_H

#include <stddef.h>
#include <stdint.h>

/* Queue bytes for the serial line; never waits: bytes that do not fit are lost. */
void hal_send(const uint8_t *data, size_t count);

/* Light the channels of this bitmap from start_ns on, for width_ns. A pulse never begins before
 * the one before it has ended. start_ns is at most late_limit_ns ago (led_config). */
void hal_pulse(const uint8_t *pattern, uint64_t start_ns, uint64_t width_ns);

/* Give one edge on F-Sync at this time, which is now or has just been. */
void hal_sync_edge(uint64_t time_ns);

/* Light exactly these channels until hal_dark(). */
void hal_lights_on(const uint8_t *pattern, uint64_t time_ns);

/* All channels off at once, pulses to come forgotten. Must work whatever else is wrong. */
void hal_dark(uint64_t time_ns);

/* Hottest LED driver, hundredths of a degree Celsius. */
int16_t hal_temperature_centi_c(void);

/* Lowest supply since the last call, millivolts. */
uint32_t hal_supply_mv(void);

/* Nonzero while the interlock is open (somebody opened the dome). */
int hal_interlock_open(void);

#endif
