package transport

import "golang.org/x/sys/unix"

// look resumes if the peer has closed its side, or is gone. epoll can not tell: a
// connection that is paused is taken out of it, see watch.
func (c *polled) look() {
	c.mu.Lock()
	l := c.loop
	c.mu.Unlock()
	if l == nil {
		return // it was accepted just now, with what it has sent
	}
	l.do(func() {
		if c.fd < 0 {
			return
		}
		fds := [1]unix.PollFd{{Fd: c.fd, Events: unix.POLLRDHUP}}
		if n, err := unix.Poll(fds[:], 0); n > 0 && err == nil {
			c.Resume()
		}
	})
}
