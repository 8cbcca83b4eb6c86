package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// memory is what a bridge knows longer than its process lives: about servers,
// nothing about messages.
type memory struct {
	ClientID string                   `json:"client,omitempty"`
	Last     string                   `json:"last,omitempty"` // as in lineage
	Shared   []string                 `json:"shared,omitempty"`
	Behind   []string                 `json:"behind,omitempty"`
	Filters  map[string][]string      `json:"filters,omitempty"` // by server, as in Bridge
	Silence  map[string]memoryOfQuiet `json:"silence,omitempty"` // by server
}

// memoryOfQuiet is in seconds, as in quiet.
type memoryOfQuiet struct {
	Good float64 `json:"good,omitempty"`
	Bad  float64 `json:"bad,omitempty"`
}

// maxMemory is how large the file may be, in bytes.
const maxMemory = 1 << 20

// readMemory reads a file, whose text is nil if it is not there.
func readMemory(path string) (m memory, text []byte, err error) {
	info, err := os.Stat(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return m, nil, nil
	}
	if err == nil && info.Size() > maxMemory {
		return m, nil, fmt.Errorf("%s: larger than %d bytes", path, maxMemory)
	}
	if text, err = os.ReadFile(path); err != nil {
		return m, nil, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return memory{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, text, nil
}

// Continues reports whether a bridge that wrote this file had its session with one of the
// servers of cfg, under the same client identifier: then that session goes on only with
// what the gateway has for the bridge that wrote it.
func Continues(file string, cfg Config) bool {
	m, _, err := readMemory(file)
	return err == nil && m.Last != "" && m.ClientID == cfg.ClientID &&
		slices.ContainsFunc(cfg.urls(), func(u *url.URL) bool { return Shown(u) == m.Last })
}

// recall reads the file. One that is not there, or is damaged, is as good as none:
// then nothing is known.
func (b *Bridge) recall() error {
	m, text, err := readMemory(b.cfg.File)
	if err != nil || text == nil {
		return err
	}
	b.remembered = text
	b.lineage = lineage{m.Last, m.Shared, m.Behind}
	if m.ClientID != "" && m.ClientID != b.cfg.ClientID { // one of long ago may have sessions
		for _, u := range b.cfg.urls() {
			b.lineage.fallBehind(b.server(u).name)
		}
	}
	b.silences = m.Silence
	if m.Filters != nil {
		b.filters = m.Filters
	}
	return nil
}

// writeAgain is how long a link waits to write the file once more that can not be written.
const writeAgain = time.Minute

// remember writes the file, if there is anything new and worth it. If it can not be
// written what goes up does not wait for it: on a full disk that makes room.
func (b *Bridge) remember() {
	b.unwritten = nil
	if b.cfg.File == "" {
		return
	}
	m := memory{
		ClientID: b.cfg.ClientID,
		Last:     b.lineage.last,
		Shared:   b.lineage.shared,
		Behind:   b.lineage.behind,
		Filters:  b.filters,
		Silence:  map[string]memoryOfQuiet{},
	}
	for name, s := range b.servers {
		if q := (memoryOfQuiet{s.quiet.good.Seconds(), s.quiet.bad.Seconds()}); q != (memoryOfQuiet{}) {
			m.Silence[name] = q
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic("bridge: " + err.Error()) // of strings and numbers
	}
	if bytes.Equal(text, b.remembered) {
		return
	}
	if err := replace(b.cfg.File, text); err != nil {
		b.unwritten = text
		b.log.Warn("what is known of the servers is not written down: if the gateway is killed before it is, a message at QoS 2 that is "+
			"in flight to one of several servers may be lost or come twice", "error", err)
		return
	}
	b.remembered = text
}

// write writes the file as soon as it can be, if it could not be when the link began.
func (l *link) write(ctx context.Context) {
	for l.unwritten != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(writeAgain):
		}
		if replace(l.cfg.File, l.unwritten) == nil {
			l.log.Info("what is known of the servers is written down")
			l.remembered, l.unwritten = l.unwritten, nil
		}
	}
}

// replace makes text the contents of the file path, on disk, or leaves it as it was.
func replace(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// begin is the quiet of a server as far as it was known before.
func (b *Bridge) begin(name string) quiet {
	q := quiet{first: b.cfg.KeepAlive * 3 / 4}
	m := b.silences[name]
	if good, bad := seconds(m.Good), seconds(m.Bad); good >= q.first && (bad == 0 || bad > good) {
		q.good, q.bad, q.wait, q.again = good, bad, tryAgain, time.Now().Add(tryAgain)
	}
	return q
}

func seconds(s float64) time.Duration {
	if s <= 0 || s > maxKeepAlive.Seconds() {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}
