/* Numbers of the LED controller's protocol: see ../SPECIFICATION.md. */
#ifndef LED_PROTOCOL_H
#define LED_PROTOCOL_H

#define LED_PROTOCOL_VERSION 1u
#define LED_REPLY_BIT 0x80u
#define LED_EVENT_TYPE 0xFFu /* so 0x7F is no request: its reply would look like an event */

#define LED_MAX_BODY 1040u
#define LED_MAX_ENCODED (LED_MAX_BODY + 4u + (LED_MAX_BODY + 4u) / 254u + 1u)
#define LED_HEADER_BYTES 4u
#define LED_STEP_BYTES 12u
#define LED_MIN_PERIOD_NS 10000u

#define LED_OVER_TEMPERATURE_CENTI_C 8500
#define LED_UNDER_VOLTAGE_MV 18000u

enum led_message {
    LED_IDENTIFY = 0x01,
    LED_STATUS = 0x02,
    LED_HEARTBEAT = 0x03,
    LED_TABLE_CHUNK = 0x10,
    LED_TABLE_COMMIT = 0x11,
    LED_ARM = 0x20,
    LED_START = 0x21,
    LED_STOP = 0x22,
    LED_SET_LIGHTS = 0x23
};

enum led_reply_status {
    LED_OK = 0,
    LED_UNKNOWN_TYPE = 1,
    LED_BAD_VERSION = 2,
    LED_BAD_LENGTH = 3,
    LED_BAD_ARGUMENT = 4,
    LED_BUSY = 5,
    LED_NO_PROGRAM = 6,
    LED_WRONG_STATE = 7,
    LED_TABLE_CRC = 8,
    LED_FAULT_ACTIVE = 9
};

enum led_state { LED_IDLE = 0, LED_ARMED = 1, LED_RUNNING = 2, LED_DONE = 3, LED_FAULT = 4 };

enum led_fault {
    LED_FAULT_OVER_TEMPERATURE = 1,
    LED_FAULT_UNDER_VOLTAGE = 2,
    LED_FAULT_INTERLOCK = 4,
    LED_FAULT_WATCHDOG = 8
};

enum led_event {
    LED_EVENT_BOOTED = 1,
    LED_EVENT_DONE = 2,
    LED_EVENT_FAULT = 3,
    LED_EVENT_STEP_MISSED = 4,
    LED_EVENT_LIGHTS_TIMED_OUT = 5
};

enum led_master { LED_MASTER_CONTROLLER = 0, LED_MASTER_CAMERA = 1 };

#endif
