package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"

	"sluice/gateway/access"
)

// passwd sets a password in the users file, or with -d removes the account.
func (c *command) passwd(ctx context.Context) error {
	f := c.flags("passwd")
	path := f.String("f", "", "")
	remove := f.Bool("d", false, "")
	args, err := c.parse(f, 1)
	if err != nil {
		return err
	}
	*path = cmp.Or(*path, c.setting("USERS_FILE"))
	switch {
	case len(args) == 0:
		return usage("whose password? Name the account")
	case *path == "":
		return usage("name the users file by -f, or by %sUSERS_FILE", prefix)
	}
	user := args[0]
	if err := access.CheckName(user); err != nil {
		return usage("%w", err)
	}
	old, err := os.ReadFile(*path)
	if err != nil && !(os.IsNotExist(err) && !*remove) {
		return err
	}
	if dir := filepath.Dir(*path); err != nil {
		if _, err := os.Stat(dir); err != nil {
			return usage("there is no directory %s: make it, or name the file by -f", dir)
		}
	}
	if *remove {
		text, found := access.RemoveAccount(string(old), user)
		if !found {
			return fmt.Errorf("%s has no account %q", *path, user)
		}
		return replaceFile(*path, text)
	}
	password, err := c.askTwice(ctx, "Password for "+user)
	if err != nil {
		return err
	}
	hash, err := access.Hash(password)
	if err != nil {
		return err
	}
	return replaceFile(*path, access.SetPassword(string(old), user, hash))
}

// askTwice asks for a new password without showing it. Where there is no
// terminal to ask at, it is the first line of the input.
func (c *command) askTwice(ctx context.Context, prompt string) ([]byte, error) {
	terminal, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		line, err := bufio.NewReader(c.stdin).ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		return bytes.TrimRight(line, "\r\n"), nil
	}
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	ask := func(prompt string) (answer []byte, err error) {
		fmt.Fprint(c.stderr, prompt+": ")
		defer fmt.Fprintln(c.stderr)
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			answer, err = term.ReadPassword(fd)
		}()
		select {
		case <-answered:
			return answer, err
		case <-ctx.Done(): // Ctrl-C: the terminal is to show again what is typed
			term.Restore(fd, before)
			return nil, errors.New("interrupted: nothing is changed")
		}
	}
	password, err := ask(prompt)
	if err != nil {
		return nil, err
	}
	again, err := ask("Once more")
	if err == nil && !bytes.Equal(password, again) {
		err = errors.New("the two are not the same: nothing is changed")
	}
	return password, err
}

// replaceFile gives the file at path a new content, at once and for its owner
// only: a reader, or a crash, finds the old one or the new.
func replaceFile(path, text string) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	keepOwner(f, path)
	_, err = io.Copy(f, strings.NewReader(text))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// keepOwner gives f the owner of the file at path, or of the directory if it is a new one, as
// far as this user may: the gateway, which may be another, still has to read it.
func keepOwner(f *os.File, path string) {
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		info, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		f.Chown(int(owner.Uid), int(owner.Gid))
	}
}
