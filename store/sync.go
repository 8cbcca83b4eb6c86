package store

import "fmt"

// Sync says what Config.Committed promises.
type Sync int

const (
	Always   Sync = iota // the batch has been fsynced: it survives a power cut
	Interval             // the batch is in the kernel, fsynced within a second: it survives the end of the process
	Never                // the batch is in the kernel, which writes it when it likes
)

var syncNames = [...]string{Always: "always", Interval: "interval", Never: "never"}

func (s Sync) String() string {
	if s < 0 || int(s) >= len(syncNames) {
		return fmt.Sprintf("Sync(%d)", int(s))
	}
	return syncNames[s]
}

// UnmarshalText sets s from always, interval or never.
func (s *Sync) UnmarshalText(text []byte) error {
	for i, name := range syncNames {
		if string(text) == name {
			*s = Sync(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of always, interval, never", text)
}

// ParseSync returns the Sync of that name: always, interval or never.
func ParseSync(name string) (s Sync, err error) {
	err = s.UnmarshalText([]byte(name))
	return s, err
}
