// A link carries datagrams to the gateway and back: plain UDP, or DTLS 1.2 with a
// pre-shared key, a message to a record.
#ifndef LINK_H
#define LINK_H

#include <stddef.h>
#include <stdint.h>

// link_open opens the link, and again after a while: over DTLS with a new handshake from
// the same port. host is an address in numbers. identity is NULL for plain UDP; key
// is in hex. It returns 0, or -1 and says why.
int link_open(const char *host, const char *port, const char *identity, const char *key);

// link_fd is what to poll for datagrams.
int link_fd(void);

// link_send sends a datagram. That it is lost is no error.
void link_send(const uint8_t *b, size_t n);

// link_receive waits up to so many milliseconds for a datagram and returns its length, 0
// if none came.
size_t link_receive(uint8_t *b, size_t size, int milliseconds);

#endif
