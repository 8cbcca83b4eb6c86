// A client of MQTT-SN 1.2, one request at a time: section 6 of the specification.
#ifndef CLIENT_H
#define CLIENT_H

#include "message.h"

// Outcomes besides 0 and the return codes of the gateway.
enum { SILENT = -1, GONE = -2, UNKNOWN = -3 };

struct will {
	const char *topic, *message; // no topic: no Will
	int qos, retain;
};

// client_tune sets T_RETRY, in milliseconds, and N_RETRY.
void client_tune(int retry, int retries);

// Each returns 0, a return code above 0, or one of the outcomes.
int client_connect(const char *id, int clean, int duration, const struct will *will);
int client_register(const char *topic, int *id);
int client_subscribe(enum kind kind, const char *topic, int qos, int *granted);
int client_unsubscribe(enum kind kind, const char *topic);
int client_publish(enum kind kind, const char *topic, int qos, int retain, const char *data);
int client_will_topic(const char *topic, int qos, int retain); // an empty topic deletes the Will
int client_will_message(const char *message);
int client_ping(void);
int client_sleep(int duration);
int client_wake(const char *id);
int client_disconnect(void);

// client_forget forgets the names of topics, as a device does that restarts.
void client_forget(void);

// client_hear takes a datagram that has come, if any. Messages are printed.
void client_hear(void);

#endif
