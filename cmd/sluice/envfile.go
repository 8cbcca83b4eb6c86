package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"strings"
)

// envFileVariable names the file with more variables.
const envFileVariable = prefix + "ENV_FILE"

// maxEnvFile is how large it may be, in bytes.
const maxEnvFile = 1 << 20

// withFile is environ with the variables of the file that SLUICE_ENV_FILE names. What
// environ has wins. origins tells of those from the file where they stand: path:line.
func withFile(environ map[string]string) (all, origins map[string]string, wrong faults) {
	path := environ[envFileVariable]
	if path == "" {
		return environ, nil, nil
	}
	list, err := readEnvFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		wrong.add(envFileVariable, "%v: sluice config env > %s makes one", err, path)
	case err != nil:
		wrong.add(envFileVariable, "%v", err)
	}
	all, origins = maps.Clone(environ), make(map[string]string)
	for _, v := range list {
		at := fmt.Sprintf("%s:%d", path, v.line)
		if v.comment {
			wrong.add(v.name, "what stands behind # is part of the value: write a comment on a line of its own, or the whole value between quotation marks")
		}
		switch {
		case v.name == envFileVariable:
			wrong.add(envFileVariable, "%s: a file names no other: leave it out", at)
		case !strings.HasPrefix(v.name, prefix):
			wrong.add(envFileVariable, "%s: %s is no setting of Sluice: set it in the environment", at, v.name)
		case environ[v.name] == "":
			all[v.name], origins[v.name] = v.value, at
		}
	}
	return all, origins, wrong
}

func readEnvFile(path string) ([]assignment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxEnvFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxEnvFile)
	}
	list, line, err := parseEnvFile(text)
	if err != nil {
		err = fmt.Errorf("%s:%d: %w", path, line, err)
	}
	return list, err
}

// assignment is a variable as an environment file sets it.
type assignment struct {
	name, value string
	line        int  // where it begins, from 1
	comment     bool // the value ends with what looks like a comment
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseEnvFile reads variables in the form of EnvironmentFile= of systemd.exec(5). Of
// several with one name the last counts. It goes on behind a line that is wrong, and
// returns the first.
func parseEnvFile(text []byte) (list []assignment, line int, err error) {
	s := scanner{text: text, line: 1}
	fault := func(at int, format string, args ...any) {
		if err == nil {
			line, err = at, fmt.Errorf(format, args...)
		}
	}
	for s.blank(); len(s.text) > 0; s.blank() {
		at := s.line
		if c := s.text[0]; c == '#' || c == ';' {
			s.rest()
			continue
		}
		name, _, found := bytes.Cut(s.text, []byte("="))
		if end := bytes.IndexByte(s.text, '\n'); !found || end >= 0 && end < len(name) {
			fault(at, "no NAME=value: put # in front of a comment")
			s.rest()
			continue
		}
		s.text = s.text[len(name)+1:]
		one := assignment{name: strings.TrimRight(string(name), " \t\r"), line: at}
		var closed bool
		if one.value, one.comment, closed = s.value(); !closed {
			fault(at, "the quotation mark of %s is not closed", one.name)
		}
		if !variableName.MatchString(one.name) {
			fault(at, "%q is no name of a variable: letters, digits and _", one.name)
			continue
		}
		list = append(list, one)
	}
	return list, line, err
}

// scanner goes through an environment file.
type scanner struct {
	text []byte // what is left
	line int
}

// next takes one byte; 0 at the end.
func (s *scanner) next() byte {
	if len(s.text) == 0 {
		return 0
	}
	c := s.text[0]
	s.text = s.text[1:]
	if c == '\n' {
		s.line++
	}
	return c
}

// blank skips white space and empty lines.
func (s *scanner) blank() {
	for len(s.text) > 0 && strings.IndexByte(" \t\r\n", s.text[0]) >= 0 {
		s.next()
	}
}

// rest skips the rest of a line.
func (s *scanner) rest() {
	for len(s.text) > 0 && s.next() != '\n' {
	}
}

// value reads what is behind = up to the end of the line: parts in quotation marks, and
// behind them one that is not, of which the white space around does not count. A backslash
// takes the meaning from the next byte, also from the end of a line. What looks like a comment
// is part of it, as it is to systemd.
func (s *scanner) value() (value string, comment, closed bool) {
	var b []byte
	behindQuote := false
	for {
		for len(s.text) > 0 && strings.IndexByte(" \t\r", s.text[0]) >= 0 {
			s.next()
		}
		if len(s.text) == 0 || s.text[0] != '"' && s.text[0] != '\'' {
			bare := s.bare()
			comment = behindQuote && bytes.HasPrefix(bare, []byte("#")) || bytes.Contains(bare, []byte(" # "))
			return string(append(b, bare...)), comment, true
		}
		behindQuote = true
		if b, closed = s.quoted(b, s.next()); !closed {
			return string(b), false, false
		}
	}
}

func (s *scanner) bare() []byte {
	var b []byte
	kept := 0 // bytes that a backslash keeps from being trimmed
	for len(s.text) > 0 {
		switch c := s.next(); {
		case c == '\n':
			return append(b[:kept], bytes.TrimRight(b[kept:], " \t\r")...)
		case c != '\\':
			b = append(b, c)
		case len(s.text) > 0 && s.text[0] == '\n':
			s.next()
		case len(s.text) > 0:
			b = append(b, s.next())
			kept = len(b)
		}
	}
	return append(b[:kept], bytes.TrimRight(b[kept:], " \t\r")...)
}

// quoted reads up to mark. Between double ones a backslash is itself but before ", \, $, `
// and the end of a line.
func (s *scanner) quoted(b []byte, mark byte) (value []byte, closed bool) {
	for len(s.text) > 0 {
		c := s.next()
		switch {
		case c == mark:
			return b, true
		case c != '\\' || mark == '\'' || len(s.text) == 0:
			b = append(b, c)
		case s.text[0] == '\n':
			s.next()
		case strings.IndexByte("\"\\$`", s.text[0]) >= 0:
			b = append(b, s.next())
		default:
			b = append(b, c)
		}
	}
	return b, false
}
