package main

import "net"

// notify tells systemd, if that started us and wants to know, how far we are:
// sd_notify(3). Nobody is worse off if it fails.
func notify(environ map[string]string, state string) {
	path := environ["NOTIFY_SOCKET"]
	if path == "" {
		return
	}
	// A leading @ is an abstract socket to net as it is to systemd.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}
