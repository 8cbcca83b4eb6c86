package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parse reads the text of a users file; name stands before its faults.
func parse(name, text string) (*List, error) {
	p := parser{
		name: name,
		list: &List{accounts: make(map[string]*account)},
	}
	p.list.decoy.hash = hash{iterations: iterations, salt: make([]byte, 16)}
	for line := range strings.Lines(text) {
		p.line++
		p.parseLine(strings.TrimRightFunc(line, unicode.IsSpace))
	}
	if len(p.faults) > 0 {
		return nil, errors.Join(p.faults...)
	}
	return p.list, nil
}

// parser is where parse stands in the file.
type parser struct {
	name      string
	line      int // counted from 1
	list      *List
	section   *[]grant // takes the indented lines; nil before the first section
	starsLine int      // where the section * begins, 0 = nowhere yet
	faults    []error
}

func (p *parser) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("%s:%d: %w", p.name, p.line, fmt.Errorf(format, args...)))
}

func (p *parser) parseLine(line string) {
	text := strings.TrimLeftFunc(line, unicode.IsSpace)
	indented := len(text) < len(line)
	switch {
	case text == "" || text[0] == '#':
	case !utf8.ValidString(text):
		p.fault("the line is not UTF-8: save the file as UTF-8")
	case indented:
		p.parseGrant(text)
	case text == "*" || text == "*:":
		p.beginEveryone()
	default:
		p.beginAccount(text)
	}
}

func (p *parser) beginEveryone() {
	if p.starsLine != 0 {
		p.fault("a second section *, the first is on line %d: move its lines there", p.starsLine)
	} else {
		p.starsLine = p.line
	}
	p.section = &p.list.everyone
}

func (p *parser) beginAccount(text string) {
	a := &account{line: p.line}
	p.section = &a.grants // also after a fault, so that its grants are checked
	user, hashed, ok := cutAccount(text)
	if !ok {
		p.fault("neither name:hash nor *: write accounts with sluice passwd, and indent the lines that grant topics")
		return
	}
	if err := CheckName(user); err != nil {
		p.fault("%w", err)
		return
	}
	if first := p.list.accounts[user]; first != nil {
		p.fault("a second account %q, the first is on line %d: remove one", user, first.line)
		return
	}
	p.list.accounts[user] = a
	var err error
	if a.hash, err = parseHash(hashed); err != nil {
		p.fault("account %q: %w", user, err)
		return
	}
	if p.list.secret == nil {
		// The same for as long as may be: salts that change tell that they are no account's.
		p.list.secret = slices.Concat(a.hash.stored[:], a.hash.server[:])
	}
	// As slow as the slowest: no answer tells that an account is not there.
	p.list.decoy.hash.iterations = max(p.list.decoy.hash.iterations, a.hash.iterations)
}

func (p *parser) parseGrant(text string) {
	verb, filter := text, ""
	if i := strings.IndexFunc(text, unicode.IsSpace); i >= 0 {
		verb, filter = text[:i], strings.TrimLeftFunc(text[i:], unicode.IsSpace)
	}
	g := grant{filter: filter}
	switch verb {
	case "read":
		g.verbs = read
	case "write":
		g.verbs = write
	case "readwrite":
		g.verbs = read | write
	default:
		p.fault("an indented line begins with read, write or readwrite; accounts begin at the margin")
		return
	}
	if err := checkFilter(filter); err != nil {
		p.fault("%s: %w", verb, err)
		return
	}
	if p.section == nil {
		p.fault("%s belongs to no account: put it below name:hash or *", verb)
		return
	}
	*p.section = append(*p.section, g)
}

// cutAccount cuts an account's line at its last colon, so that names may hold
// colons: a hash has none.
func cutAccount(line string) (user, hash string, ok bool) {
	i := strings.LastIndexByte(line, ':')
	if i < 0 {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

// CheckName says what keeps a user name from standing in a users file, nil if
// nothing does.
func CheckName(user string) error {
	switch {
	case user == "":
		return errors.New("the user name is empty")
	case user == "*" || strings.HasPrefix(user, "#"):
		return errors.New("a user name may not be * or begin with #")
	case !utf8.ValidString(user) || strings.ContainsFunc(user, unicode.IsControl):
		return errors.New("a user name is UTF-8 without control characters")
	case strings.TrimSpace(user) != user:
		return errors.New("a user name may not begin or end with a space")
	case len(user) > 65535:
		return errors.New("a user name has at most 65535 bytes")
	}
	return nil
}

// checkFilter says what is wrong with a grant's filter. [section 4.7.1]
func checkFilter(filter string) error {
	switch {
	case filter == "":
		return errors.New("the topic filter is missing")
	case strings.HasPrefix(filter, "$share/"):
		return errors.New("leave out $share and the group: the filter behind them is what counts")
	case len(filter) > 65535 || strings.ContainsRune(filter, 0):
		return errors.New("a topic filter has at most 65535 bytes and no NUL")
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "+":
		case level == "#" && i == len(levels)-1:
		case strings.ContainsAny(level, "+#"):
			return errors.New("+ stands alone between slashes, and # alone at the end, as in plant/+/state or plant/#")
		}
		for rest := level; ; {
			_, after, found := strings.Cut(rest, "%")
			if !found {
				break
			}
			if after == "" || after[0] != 'u' && after[0] != 'c' {
				return errors.New("% is followed by u (the user name) or c (the client identifier)")
			}
			rest = after
		}
	}
	return nil
}
