package rig

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What happens is what was asked for, the same for the same seed, and the late ones
// come.
func TestRadioDice(t *testing.T) {
	const sent = 10000
	play := func(seed uint64) (came []byte, r *Radio) {
		var mu sync.Mutex
		send := func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			came = append(append(came, b...), ' ')
		}
		synctest.Test(t, func(t *testing.T) {
			r = &Radio{Seed: seed, Lost: 0.1, Doubled: 0.2, Late: 0.3, Delay: time.Second}
			dice := r.dice(0)
			for i := range sent {
				r.pass(dice, fmt.Append(nil, i), send)
			}
			time.Sleep(2 * time.Second)
		})
		return came, r
	}
	came, r := play(1)
	near := func(what string, n int64, share float64) {
		if want := share * sent; float64(n) < 0.9*want || float64(n) > 1.1*want {
			t.Errorf("%d %s, want about %.0f", n, what, want)
		}
	}
	near("lost", r.Losses.Load(), 0.1)
	near("doubled", r.Doubles.Load(), 0.9*0.2)
	near("late", r.Delays.Load(), 0.9*0.3)
	if got, want := bytes.Count(came, []byte(" ")), sent-int(r.Losses.Load())+int(r.Doubles.Load()); got != want {
		t.Errorf("%d came, want %d", got, want)
	}
	if again, _ := play(1); len(again) != len(came) {
		t.Error("the same seed has another outcome")
	}
	if other, _ := play(2); bytes.Equal(other, came) {
		t.Error("another seed has the same outcome")
	}
}

// Two devices each have a line of their own.
func TestRadioLines(t *testing.T) {
	backend, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	r := &Radio{Backend: backend.LocalAddr().String()}
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 100)
	lines := map[string]bool{}
	for i := range 4 {
		device, err := net.Dial("udp4", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer device.Close()
		fmt.Fprint(device, "to ", i)
		n, line, err := backend.ReadFrom(b)
		if want := fmt.Sprint("to ", i); err != nil || string(b[:n]) != want {
			t.Fatalf("the backend got %q, %v; want %q", b[:n], err, want)
		}
		lines[line.String()] = true
		backend.WriteTo(fmt.Append(nil, "back ", i), line)
		device.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err = device.Read(b)
		if want := fmt.Sprint("back ", i); err != nil || string(b[:n]) != want {
			t.Fatalf("the device got %q, %v; want %q", b[:n], err, want)
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines, want 4", len(lines))
	}
}
