#include "link.h"

#include <arpa/inet.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int fd = -1;

int link_fd(void) { return fd; }

// connect_udp makes the socket.
static int connect_udp(const char *host, const char *port) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to);
}

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

// receive waits for a datagram: 0 if none came. That nobody listens now is none, and the
// wait goes on: somebody may in a moment.
static size_t receive(uint8_t *b, size_t size, int milliseconds) {
	struct pollfd p = {.fd = fd, .events = POLLIN};
	for (long long until = now() + milliseconds;;) {
		long long left = until - now();
		if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
			return 0;
		ssize_t n = recv(fd, b, size, 0);
		if (n >= 0)
			return (size_t)n;
	}
}

static int secure;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context dice;
static mbedtls_ssl_config config;
static mbedtls_ssl_context ssl;
static mbedtls_timing_delay_context timer;

static int bio_send(void *context, const unsigned char *b, size_t n) {
	(void)context;
	(void)!send(fd, b, n, 0);
	return (int)n;
}

static int bio_receive(void *context, unsigned char *b, size_t n, uint32_t milliseconds) {
	(void)context;
	size_t got = receive(b, n, (int)milliseconds);
	return got > 0 ? (int)got : MBEDTLS_ERR_SSL_TIMEOUT;
}

// configure sets up what all sessions share.
static int configure(const char *identity, const char *key) {
	uint8_t psk[64];
	size_t n = strlen(key) / 2;
	if (n > sizeof psk)
		return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	for (size_t i = 0; i < n; i++)
		if (sscanf(key + 2 * i, "%2hhx", &psk[i]) != 1)
			return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&dice);
	mbedtls_ssl_config_init(&config);
	int rc = mbedtls_ctr_drbg_seed(&dice, mbedtls_entropy_func, &entropy, NULL, 0);
	if (!rc)
		rc = mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
		                                 MBEDTLS_SSL_PRESET_DEFAULT);
	if (!rc)
		rc = mbedtls_ssl_conf_psk(&config, psk, n, (const uint8_t *)identity, strlen(identity));
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &dice);
	mbedtls_ssl_conf_handshake_timeout(&config, 250, 4000);
	mbedtls_ssl_init(&ssl);
	if (!rc)
		rc = mbedtls_ssl_setup(&ssl, &config);
	mbedtls_ssl_set_bio(&ssl, NULL, bio_send, NULL, bio_receive);
	mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
	return rc;
}

// shake hands, from the same port if there was a session before: a device that has lost
// its memory does so.
static int shake(const char *identity, const char *key) {
	int rc = secure ? mbedtls_ssl_session_reset(&ssl) : configure(identity, key);
	secure = 1;
	mbedtls_ssl_conf_read_timeout(&config, 0);
	if (!rc)
		do
			rc = mbedtls_ssl_handshake(&ssl);
		while (rc == MBEDTLS_ERR_SSL_WANT_READ); // it had a record that was no good
	if (rc) {
		char why[128];
		mbedtls_strerror(rc, why, sizeof why);
		fprintf(stderr, "handshake: %s\n", why);
		return -1;
	}
	fprintf(stderr, "DTLS with %s\n", mbedtls_ssl_get_ciphersuite(&ssl));
	return 0;
}

int link_open(const char *host, const char *port, const char *identity, const char *key) {
	if (fd < 0 && connect_udp(host, port)) {
		perror(host);
		return -1;
	}
	return identity ? shake(identity, key) : 0;
}

void link_send(const uint8_t *b, size_t n) {
	if (secure)
		mbedtls_ssl_write(&ssl, b, n);
	else
		(void)!send(fd, b, n, 0);
}

size_t link_receive(uint8_t *b, size_t size, int milliseconds) {
	if (!secure)
		return receive(b, size, milliseconds);
	mbedtls_ssl_conf_read_timeout(&config, milliseconds > 0 ? (uint32_t)milliseconds : 1); // 0 is for ever
	int n = mbedtls_ssl_read(&ssl, b, size);
	if (n <= 0 && n != MBEDTLS_ERR_SSL_TIMEOUT)
		poll(NULL, 0, milliseconds); // the session is over: nothing comes any more
	return n > 0 ? (size_t)n : 0;
}
