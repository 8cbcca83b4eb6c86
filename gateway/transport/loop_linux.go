package transport

import "net"

// There are event loops on Linux only. Elsewhere all connections are streams.
const haveLoops = false

type loops struct{ n int }

func (*loops) listen(*Transport, net.Listener, wire) (func(), error) { panic("no loops") }

func (*loops) close(bool) {}
