package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// fault is what is wrong with one variable.
type fault struct {
	name, text string
	at         string // path:line of a file; empty: the environment
}

// faults are all that is wrong with an environment. It is an error once it
// holds one.
type faults []fault

func (f *faults) add(name, format string, args ...any) {
	*f = append(*f, fault{name: name, text: fmt.Sprintf(format, args...)})
}

// of reports whether there is a fault with name.
func (f faults) of(name string) bool {
	return slices.ContainsFunc(f, func(one fault) bool { return one.name == name })
}

// locate notes where the variables stand that a file sets.
func (f faults) locate(origins map[string]string) {
	for i := range f {
		f[i].at = cmp.Or(origins[f[i].name], origins[f[i].name+"_FILE"])
	}
}

func (f fault) String() string {
	if f.at != "" {
		return fmt.Sprintf("%s (%s): %s", f.name, f.at, f.text)
	}
	return f.name + ": " + f.text
}

func (f faults) Error() string {
	var s []string
	for _, one := range f {
		s = append(s, one.String())
	}
	return strings.Join(s, "\n")
}

// readSettings reads the environment, and the file that it names. Its error, of
// type faults, names everything that is wrong with it; the settings are then as
// far as they go.
func readSettings(environ map[string]string) (*settings, error) {
	s := new(settings)
	environ, origins, wrong := withFile(environ)
	s.environ, s.origins = environ, origins
	wrong = append(wrong, misspelt(environ)...)
	parse(environ, prefix, s, &wrong)
	parse(environ, clientPrefix, new(clientSettings), &wrong) // not used by the gateway, but checked
	for _, n := range bridgeNumbers(environ) {                // gaps are where bridges were removed
		b := bridgeSettings{number: n}
		parse(withPreset(environ, n), bridgeVariable(n, ""), &b, &wrong)
		s.Bridges = append(s.Bridges, b)
	}
	s.finish(environ)
	s.check(environ, &wrong)
	if len(wrong) > 0 {
		wrong.locate(origins)
		return s, wrong
	}
	return s, nil
}

// parse sets the fields of target, a pointer to one of the settings structs,
// from the variables that begin with prefix.
func parse(environ map[string]string, prefix string, target any, wrong *faults) {
	err := env.ParseWithOptions(target, env.Options{
		Environment: withSecrets(environ, prefix, target, wrong),
		Prefix:      prefix,
	})
	var all env.AggregateError
	if !errors.As(err, &all) {
		return
	}
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			panic(err) // a mistake in the struct's tags
		}
		field, _ := reflect.TypeOf(target).Elem().FieldByName(parse.Name)
		name := prefix + field.Tag.Get("env")
		all := []error{parse.Err}
		if several, ok := parse.Err.(interface{ Unwrap() []error }); ok { // of a list
			all = several.Unwrap()
		}
		for _, err := range all {
			wrong.add(name, "%s", whatIsWrong(field.Type, environ[name], err))
		}
	}
}

// whatIsWrong says in a user's words why value is not of type t; err is what its
// parser said.
func whatIsWrong(t reflect.Type, value string, err error) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return fmt.Sprintf("%q is not a duration such as 500ms, 10s, 5m or 36h", value)
	case t.Kind() == reflect.Bool:
		return fmt.Sprintf("%q is neither true nor false", value)
	case t == reflect.TypeFor[uint8]():
		return fmt.Sprintf("%q is not a whole number up to 255", value)
	case t.Kind() == reflect.Uint16:
		return fmt.Sprintf("%q is not a whole number up to 65535", value)
	case t == reflect.TypeFor[int]():
		return fmt.Sprintf("%q is not a whole number: write digits only", value)
	case t == reflect.TypeFor[netip.Addr]():
		return fmt.Sprintf("%q is not an address such as 192.168.1.5 or fe80::5%%eth0", value)
	case strings.HasPrefix(err.Error(), "slog:"):
		return fmt.Sprintf("%q is none of debug, info, warn, error", value)
	}
	return err.Error()
}

// withSecrets is environ with the secrets that are given as files. A line's end
// at the end of a file is not part of the secret.
func withSecrets(environ map[string]string, prefix string, target any, wrong *faults) map[string]string {
	environ = maps.Clone(environ)
	for _, name := range secretsOf(prefix, target) {
		path := environ[name+"_FILE"]
		if path == "" {
			continue
		}
		if environ[name] != "" {
			wrong.add(name, "set along with %s_FILE: keep one", name)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			wrong.add(name+"_FILE", "%v", err)
			continue
		}
		environ[name] = strings.TrimRight(string(text), "\r\n")
		if environ[name] == "" {
			wrong.add(name+"_FILE", "%s is empty", path)
		}
	}
	return environ
}

// variable is a setting as a user sees it.
type variable struct {
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
	Default string `json:"default"` // a value, or a description of one
	Value   string `json:"value"`
	Origin  string `json:"origin"` // "default", "environment", "file" and its path, or "preset" and its name

	group   string // begins here, empty: goes on
	dynamic bool   // Default is a description
	secret  bool
}

// variables lists the settings in target, a pointer to one of the settings
// structs, as environ set them.
func variables(environ map[string]string, prefix string, target any) []variable {
	var list []variable
	v := reflect.ValueOf(target).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, tag := field.Tag.Get("env"), field.Tag
		if name == "" || name == "-" {
			continue
		}
		one := variable{
			Name:    prefix + name,
			Meaning: tag.Get("about"),
			Default: tag.Get("envDefault"),
			Value:   formatValue(v.Field(i).Interface()),
			Origin:  "default",
			group:   tag.Get("group"),
			secret:  field.Type == reflect.TypeFor[secret](),
		}
		if text, ok := tag.Lookup("default"); ok {
			one.Default, one.dynamic = text, true
		}
		if environ[one.Name] != "" {
			one.Origin = "environment"
		}
		if one.secret {
			one.Meaning += "; or " + one.Name + "_FILE, a file that holds it"
			if path := environ[one.Name+"_FILE"]; path != "" {
				one.Origin = "file " + path
			}
		}
		list = append(list, one)
	}
	return list
}

// allVariables lists every setting there is; the bridges that are set, or else
// those of one bridge by way of example.
func allVariables(environ map[string]string, s *settings) []variable {
	list := variables(environ, prefix, s)
	numbers := bridgeNumbers(environ)
	for i, n := range numbers {
		of := variables(environ, bridgeVariable(n, ""), &s.Bridges[i])
		for name := range presetSettings(environ, n) {
			at := slices.IndexFunc(of, func(v variable) bool { return v.Name == name })
			of[at].Origin = "preset " + s.Bridges[i].Preset
		}
		list = append(list, of...)
	}
	if len(numbers) == 0 {
		var example bridgeSettings
		parse(nil, bridgePrefix+"n_", &example, new(faults))
		list = append(list, variables(nil, bridgePrefix+"n_", &example)...)
	}
	var c clientSettings
	parse(environ, clientPrefix, &c, new(faults))
	return append(list, variables(environ, clientPrefix, &c)...)
}

// secretsOf names the secrets in target, as variables does.
func secretsOf(prefix string, target any) (names []string) {
	for _, v := range variables(nil, prefix, target) {
		if v.secret {
			names = append(names, v.Name)
		}
	}
	return names
}

// bridgeName tells the number and the rest of a bridge's variable. The number
// has no leading zero: there is one name for one thing.
var bridgeName = regexp.MustCompile(`^` + bridgePrefix + `(0|[1-9][0-9]{0,3})_(.*)$`)

func bridgeVariable(n int, name string) string {
	return fmt.Sprintf("%s%d_%s", bridgePrefix, n, name)
}

// bridgeNumbers lists the numbers of the bridges for which anything is set.
func bridgeNumbers(environ map[string]string) (numbers []int) {
	for name, value := range environ {
		if m := bridgeName.FindStringSubmatch(name); m != nil && value != "" {
			n, _ := strconv.Atoi(m[1])
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// misspelt finds the variables that begin with SLUICE_ and mean nothing.
func misspelt(environ map[string]string) (wrong faults) {
	var known []string // with n in place of a bridge's number
	for _, v := range allVariables(nil, new(settings)) {
		known = append(known, v.Name)
		if v.secret {
			known = append(known, v.Name+"_FILE")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		general, number := name, "n"
		if m := bridgeName.FindStringSubmatch(name); m != nil {
			general, number = bridgePrefix+"n_"+m[2], m[1]
		}
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, general) {
			continue
		}
		nearest := slices.MinFunc(known, func(a, b string) int { return distance(general, a) - distance(general, b) })
		if distance(general, nearest) > max(2, len(strings.TrimPrefix(strings.TrimPrefix(general, prefix), "BRIDGE_n_"))/2) {
			wrong.add(name, "there is no such setting: sluice config lists them")
			continue
		}
		nearest = strings.Replace(nearest, bridgePrefix+"n_", bridgePrefix+number+"_", 1)
		wrong.add(name, "there is no such setting: %s, perhaps?", nearest)
	}
	return wrong
}

// distance is how many letters to add, drop or change between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of the letters of a so far
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
