package access

import "strings"

// SetPassword returns the text of a users file with user's hash set to hashed,
// as Hash makes it: the account's line is replaced, or one is added at the end.
// Comments, grants and all other lines stay as they are.
func SetPassword(text, user, hashed string) string {
	line := user + ":" + hashed + "\n"
	if start, end, _, found := findAccount(text, user); found {
		return text[:start] + line + text[end:]
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line
}

// RemoveAccount returns the text of a users file without user's account and its
// grants, and whether there was one.
func RemoveAccount(text, user string) (string, bool) {
	start, _, grants, found := findAccount(text, user)
	if !found {
		return text, false
	}
	return text[:start] + text[grants:], true
}

// findAccount finds user's line in text, [start,end), and the end of the
// indented lines below it.
func findAccount(text, user string) (start, end, grants int, found bool) {
	at := 0
	for line := range strings.Lines(text) {
		first := at
		at += len(line)
		switch indented := line[0] == ' ' || line[0] == '\t'; {
		case found && indented:
			grants = at
		case found:
			return start, end, grants, true
		case !indented && line[0] != '#':
			if name, _, ok := cutAccount(line); ok && name == user {
				start, end, grants, found = first, at, at, true
			}
		}
	}
	return start, end, grants, found
}
