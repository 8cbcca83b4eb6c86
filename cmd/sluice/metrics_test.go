package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/gateway/admin"
)

// Every figure that the parts count is on the page.
func TestNoFigureIsForgotten(t *testing.T) {
	f := &figures{bridges: make([]bridgeFigures, 1)}
	var set []string
	var fill func(path string, v reflect.Value)
	fill = func(path string, v reflect.Value) {
		n := 1000 + len(set)
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		case reflect.Array:
			if v.Len() < 256 {
				return // a histogram
			}
			v = v.Index(0x82) // of reason codes
			v.SetUint(uint64(n))
		case reflect.Int, reflect.Int64:
			if v.Type() == reflect.TypeFor[time.Duration]() {
				v.SetInt(int64(n) * int64(time.Second))
			} else {
				v.SetInt(int64(n))
			}
		case reflect.Uint64:
			v.SetUint(uint64(n))
		default:
			return
		}
		set = append(set, fmt.Sprintf("%s %d", path, n))
	}
	fill("gateway", reflect.ValueOf(&f.gateway).Elem())
	fill("store", reflect.ValueOf(&f.store).Elem())
	status := &f.bridges[0].Status
	for i := range reflect.TypeOf(*status).NumField() {
		if v := reflect.ValueOf(status).Elem().Field(i); v.Type() != reflect.TypeFor[time.Time]() {
			fill("bridge."+reflect.TypeOf(*status).Field(i).Name, v)
		}
	}
	fill("backlog", reflect.ValueOf(&f.bridges[0].Backlog).Elem())
	if len(set) < 40 {
		t.Fatalf("only %d figures are counted: %q", len(set), set)
	}
	var p admin.Page
	admin.Write(&p, metrics, f)
	for _, s := range set {
		name, value, _ := strings.Cut(s, " ")
		if !strings.Contains(p.String(), " "+value+"\n") {
			t.Errorf("%s, set to %s, is not on the page", name, value)
		}
	}
}

func TestHealth(t *testing.T) {
	g := startGateway(t, map[string]string{"SLUICE_HTTP_ADDR": ":0"})
	if addr := g.addr["HTTP"]; strings.HasPrefix(addr, "127.") {
		t.Errorf("it listens at %s, was told to everywhere", addr)
	}
	get := func(path string) string {
		r, err := http.Get("http://" + g.addr["HTTP"] + path)
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		return fmt.Sprint(r.StatusCode, " ", string(text), errors.Join(err))
	}
	if got := get("/healthz"); !strings.HasPrefix(got, "200 ok") {
		t.Errorf("/healthz answers %q", got)
	}
	if got := get("/metrics"); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "\nsluice_clients 0\n") {
		t.Errorf("/metrics answers %q", got)
	}
	g.stop()
	if _, err := http.Get("http://" + g.addr["HTTP"] + "/healthz"); err == nil {
		t.Error("there is an answer after the end")
	}
	ending := new(running)
	ending.ending.Store(true)
	if err := ending.health(); err == nil || err.Error() != "shutting down" {
		t.Errorf("at the end it says %v", err)
	}
}
