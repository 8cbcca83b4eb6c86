package access

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const hexKey = "000102030405060708090a0b0c0d0e0f"

func writeKeys(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "psk")
	writeKeys(t, path, "# pumps\n\npump7 "+hexKey+" pump\n  pump8\tAAECAwQFBgcICQoLDA0ODw==  the second pump \npump9 AAECAwQFBgcICQoLDA0ODw pump\r\n", 0o600)
	k, err := LoadKeys(path, nil)
	if err != nil || k.Len() != 3 {
		t.Fatalf("%d keys, %v", k.Len(), err)
	}
	for identity, want := range map[string]string{"pump7": "pump", "pump8": "the second pump", "pump9": "pump"} {
		key, user, ok := k.Find(identity)
		if !ok || user != want || hex.EncodeToString(key) != hexKey {
			t.Errorf("%s: key %x of %q, %v", identity, key, user, ok)
		}
	}
	for _, identity := range []string{"", "pump", "#", "pump77"} {
		if _, _, ok := k.Find(identity); ok {
			t.Errorf("%q has a key", identity)
		}
	}
}

func TestKeysFaults(t *testing.T) {
	long := strings.Repeat("x", 129)
	for text, want := range map[string]string{
		"pump7":                                    `psk:1: the key of "pump7": neither hexadecimal nor Base64`,
		"pump7 secret! pump":                       `psk:1: the key of "pump7": neither hexadecimal nor Base64`,
		"pump7 00010203 pump":                      `psk:1: the key of "pump7": it has 4 bytes, not 16 to 64`,
		"a " + strings.Repeat(hexKey, 5) + " a":    `psk:1: the key of "a": it has 80 bytes, not 16 to 64`,
		"pump7 " + hexKey:                          `psk:1: "pump7" stands for no account: write identity, key and account`,
		"pump7 " + hexKey + " *":                   `psk:1: "pump7": a user name may not be * or begin with #`,
		long + " " + hexKey + " pump":              `psk:1: an identity has at most 128 bytes`,
		"\xff " + hexKey + " pump":                 `psk:1: an identity is UTF-8 without spaces and control characters`,
		"a " + hexKey + " a\n\na " + hexKey + " b": `psk:3: a second key of "a", the first is on line 1: remove one`,
		"a x a\nb x b":                             "psk:1: the key of \"a\": neither hexadecimal nor Base64\npsk:2: the key of \"b\": neither hexadecimal nor Base64",
	} {
		_, err := parseKeys("psk", text)
		if err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), hexKey) || strings.Contains(err.Error(), "secret!")) {
			t.Errorf("a key is shown: %v", err)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "psk")
	writeKeys(t, path, "a "+hexKey+" a\n", 0o640)
	if _, err := LoadKeys(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	writeKeys(t, path, strings.Repeat("#", maxKeysFile+1), 0o600)
	if _, err := LoadKeys(path, nil); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("too long: %v", err)
	}
	if _, err := LoadKeys(dir, nil); err == nil {
		t.Error("a directory")
	}
}

// What is changed in the file counts a second later; what is wrong there
// changes nothing, and is told once.
func TestKeysFollowTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "psk")
		var faults []error
		k, err := LoadKeys(path, func(err error) { faults = append(faults, err) })
		if err != nil || k.Len() != 0 {
			t.Fatalf("a file that is not there: %d keys, %v", k.Len(), err)
		}
		user := func(identity string) string {
			time.Sleep(lookAgain)
			_, user, _ := k.Find(identity)
			return user
		}
		writeKeys(t, path, "a "+hexKey+" first\n", 0o600)
		if _, _, ok := k.Find("a"); ok {
			t.Error("looked again at once")
		}
		if u := user("a"); u != "first" {
			t.Errorf("a is of %q", u)
		}
		writeKeys(t, path, "a "+hexKey+" second\nb "+hexKey+" b\n", 0o600)
		if u, v := user("a"), user("b"); u != "second" || v != "b" {
			t.Errorf("a is of %q, b of %q", u, v)
		}
		writeKeys(t, path, "a "+hexKey+" third\nb\n", 0o600)
		for range 3 {
			if u, v := user("a"), user("b"); u != "second" || v != "b" {
				t.Errorf("with a fault in the file, a is of %q, b of %q", u, v)
			}
		}
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), "psk:2:") {
			t.Errorf("faults: %v", faults)
		}
		os.Remove(path)
		if u := user("a"); u != "" {
			t.Errorf("the file is gone, a is of %q", u)
		}
	})
}

func TestEditKeys(t *testing.T) {
	key, _ := hex.DecodeString(hexKey)
	text := "# kept\na x y"
	text = SetKey(text, "b", key, "b's account")
	text = SetKey(text, "a", key, "z")
	if want := "# kept\na " + hexKey + " z\nb " + hexKey + " b's account\n"; text != want {
		t.Errorf("%q, want %q", text, want)
	}
	var all []string
	Identities(text, func(identity, user string) { all = append(all, identity+"="+user) })
	if got := strings.Join(all, ","); got != "a=z,b=b's account" {
		t.Error(got)
	}
	text, found := RemoveKey(text, "a")
	if _, again := RemoveKey(text, "a"); !found || again || text != "# kept\nb "+hexKey+" b's account\n" {
		t.Errorf("%v %v %q", found, again, text)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("# x\na " + hexKey + " a\n")
	f.Add("a " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + " the account")
	f.Fuzz(func(t *testing.T, text string) {
		byName, err := parseKeys("psk", text)
		if err != nil {
			return
		}
		n := 0
		Identities(text, func(identity, user string) {
			n++
			if byName[identity].user != user {
				t.Errorf("%q is of %q and %q", identity, byName[identity].user, user)
			}
		})
		if n != len(byName) {
			t.Errorf("%d identities, %d keys", n, len(byName))
		}
		for identity, s := range byName {
			again, err := parseKeys("psk", SetKey(text, identity, s.key, s.user))
			if err != nil || string(again[identity].key) != string(s.key) || again[identity].user != s.user {
				t.Errorf("written again: %v", err)
			}
		}
	})
}
