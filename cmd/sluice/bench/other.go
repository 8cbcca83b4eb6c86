//go:build !linux

package bench

import (
	"context"
	"errors"
)

type run struct{}

func newRun(context.Context, *Config, *Report) (*run, error) {
	return nil, errors.New("the load generator runs on Linux only")
}

func (*run) close()          {}
func (*run) interrupt()      {}
func (*run) show() func()    { return func() {} }
func (*run) flow() error     { return nil }
func (*run) idle() error     { return nil }
func (*run) retained() error { return nil }
func (*run) offline() error  { return nil }
