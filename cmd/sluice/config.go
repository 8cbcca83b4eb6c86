package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// config prints the settings (no argument), checks them, or writes them as an
// environment file.
func (c *command) config(context.Context) error {
	f := c.flags("config")
	asJSON := f.Bool("json", false, "")
	args, err := c.parse(f, 1)
	if err != nil {
		return err
	}
	if len(args) == 1 && args[0] == "env" {
		_, err := fmt.Fprint(c.stdout, environmentFile())
		return err
	}
	s, wrong := readSettings(c.environ)
	switch {
	case len(args) == 1 && args[0] == "check":
		for _, w := range s.warnings() {
			fmt.Fprintf(c.stderr, "perhaps: %v\n", w)
		}
		if wrong == nil {
			fmt.Fprintln(c.stdout, "the settings are good")
		}
		return wrong
	case len(args) == 1:
		return usage("%q is neither check nor env", args[0])
	}
	list := allVariables(s.environ, s)
	for i := range list {
		if at := s.origins[list[i].Name]; at != "" {
			list[i].Origin = "file " + at
		}
	}
	if *asJSON {
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false) // the -> of rules
		err = e.Encode(list)
	} else {
		_, err = fmt.Fprint(c.stdout, describe(list))
	}
	if err != nil {
		return err
	}
	return wrong
}

// describe is what sluice config prints.
func describe(list []variable) string {
	var b strings.Builder
	for _, v := range list {
		if v.group != "" {
			fmt.Fprintf(&b, "\n%s\n", v.group)
		}
		fmt.Fprintf(&b, "\n  %s=%s\n", v.Name, v.Value)
		fmt.Fprintf(&b, "      %s\n", v.Meaning)
		if v.Origin != "default" {
			fmt.Fprintf(&b, "      from the %s; ", v.Origin)
		} else {
			b.WriteString("      ")
		}
		fmt.Fprintf(&b, "default: %s\n", cmp.Or(v.Default, "none"))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// environmentFile is deploy/sluice.env: every variable with its meaning and
// default, commented out.
func environmentFile() string {
	var b strings.Builder
	b.WriteString("# Settings of Sluice, written by sluice config env. Take the # from in front of a\n" +
		"# variable to set it; sluice config check says whether all is well.\n")
	for _, v := range allVariables(nil, new(settings)) {
		if v.group != "" {
			fmt.Fprintf(&b, "\n\n## %s\n", v.group)
		}
		value := v.Default
		fmt.Fprintf(&b, "\n# %s.\n", wrap(v.Meaning, "# "))
		if v.dynamic {
			fmt.Fprintf(&b, "# Default: %s.\n", wrap(v.Default, "# "))
			value = ""
		}
		fmt.Fprintf(&b, "#%s=%s\n", strings.Replace(v.Name, bridgePrefix+"n_", bridgeVariable(0, ""), 1), value)
	}
	return b.String()
}

// wrap breaks text into lines of at most 80 bytes, each but the first behind margin.
func wrap(text, margin string) string {
	var b strings.Builder
	column := len(margin)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) >= 80:
			b.WriteString("\n" + margin)
			column = len(margin)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
