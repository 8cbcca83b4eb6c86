package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/gateway/access"
)

// newKeySize is the length of a key that is made, in bytes: what mbedTLS takes
// as it comes.
const newKeySize = 32

// psk edits the file of pre-shared keys.
func (c *command) psk(ctx context.Context) error {
	verb := ""
	if len(c.args) > 0 {
		verb, c.args = c.args[0], c.args[1:]
	}
	switch verb {
	case "set":
		return c.pskSet(ctx)
	case "list":
		return c.pskList()
	case "del":
		return c.pskDelete()
	case "-h", "-help", "--help":
		return flag.ErrHelp
	}
	return usage("say what to do: sluice psk set, sluice psk list or sluice psk del")
}

// pskSet makes a key for an identity and shows it, or takes one.
func (c *command) pskSet(ctx context.Context) error {
	f := c.flags("psk")
	path := f.String("f", "", "")
	user := f.String("user", "", "")
	given := f.Bool("stdin", false, "")
	identity, err := c.identity(f)
	if err != nil {
		return err
	}
	*user = cmp.Or(*user, identity)
	if err := access.CheckName(*user); err != nil {
		return usage("%w", err)
	}
	text, err := c.readKeys(path)
	if err != nil {
		return err
	}
	key := make([]byte, newKeySize)
	rand.Read(key)
	if *given {
		typed, err := c.askTwice(ctx, "Key for "+identity)
		if err != nil {
			return err
		}
		if key, err = access.ParseKey(strings.TrimSpace(string(typed))); err != nil {
			return fmt.Errorf("the key: %w", err)
		}
	}
	if err := replaceFile(*path, access.SetKey(text, identity, key, *user)); err != nil {
		return err
	}
	c.warnOfAccount(*user)
	if *given {
		return nil
	}
	_, err = fmt.Fprintf(c.stdout, "identity  %s\nkey       %s\n", identity, hex.EncodeToString(key))
	return err
}

// warnOfAccount says that a key will open nothing yet.
func (c *command) warnOfAccount(user string) {
	users := c.setting("USERS_FILE")
	if users == "" {
		return
	}
	if list, err := access.Load(users); err == nil && !list.Has(user) {
		fmt.Fprintf(c.stderr, "sluice psk: there is no account %q in %s: the key opens nothing until sluice passwd has made one\n", user, users)
	}
}

func (c *command) pskList() error {
	f := c.flags("psk")
	path := f.String("f", "", "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	text, err := c.readKeys(path)
	if err != nil {
		return err
	}
	access.Identities(text, func(identity, user string) {
		fmt.Fprintf(c.stdout, "%s\t%s\n", identity, user)
	})
	return nil
}

func (c *command) pskDelete() error {
	f := c.flags("psk")
	path := f.String("f", "", "")
	identity, err := c.identity(f)
	if err != nil {
		return err
	}
	text, err := c.readKeys(path)
	if err != nil {
		return err
	}
	text, found := access.RemoveKey(text, identity)
	if !found {
		return fmt.Errorf("%s has no key of %q", *path, identity)
	}
	return replaceFile(*path, text)
}

// identity sets f from the command line and returns the one argument, which stands
// before or behind the flags.
func (c *command) identity(f *flag.FlagSet) (string, error) {
	if len(c.args) > 0 && !strings.HasPrefix(c.args[0], "-") {
		c.args = append(c.args[1:len(c.args):len(c.args)], c.args[0])
	}
	args, err := c.parse(f, 1)
	if err != nil {
		return "", err
	}
	if len(args) == 0 {
		return "", usage("whose key? Name the identity")
	}
	if err := access.CheckIdentity(args[0]); err != nil {
		return "", usage("%w", err)
	}
	return args[0], nil
}

// readKeys completes the path of the file of keys, and returns its text, empty
// if it is not there.
func (c *command) readKeys(path *string) (string, error) {
	*path = cmp.Or(*path, c.setting("SN_PSK_FILE"), keysFile(dataDir(c.setting("DATA_DIR"), c.environ)))
	if _, err := access.LoadKeys(*path, nil); err != nil {
		return "", err
	}
	text, err := os.ReadFile(*path)
	if os.IsNotExist(err) {
		if _, err := os.Stat(filepath.Dir(*path)); err != nil {
			return "", usage("there is no directory %s: name the file by -f or %sSN_PSK_FILE, or start the gateway once, which makes its data directory", filepath.Dir(*path), prefix)
		}
		return "", nil
	}
	return string(text), err
}
