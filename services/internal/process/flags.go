package process

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// problems returns everything that is wrong with the arguments, the environment and
// the resulting configuration. The parser alone names only the first problem.
func problems(parser *kong.Kong, args []string) error {
	var found list
	trace, err := kong.Trace(parser, args)
	if err != nil {
		return err
	}
	found.add(trace.Error)
	for _, flag := range parser.Model.Flags {
		if err := flag.Reset(); err != nil {
			found.add(err)
			// With its default the flag causes no further problem below.
			flag.Tag.Envs, flag.Envs = nil, nil
			found.add(flag.Reset())
		}
	}
	if _, err := trace.Apply(); err != nil {
		found.add(err)
	}
	for _, flag := range parser.Model.Flags {
		found.add(checkFlag(flag))
	}
	found.validate(parser.Model.Target)
	return errors.Join(found...)
}

// checkFlag returns what is wrong with the value of one flag, or nil.
func checkFlag(flag *kong.Flag) error {
	switch value := fmt.Sprint(flag.Target); {
	case flag.Required && !flag.Set:
		return fmt.Errorf("--%s is missing%s", flag.Name, fromEnvironment(flag))
	case flag.Enum != "" && !slices.Contains(flag.EnumSlice(), value):
		return fmt.Errorf("--%s must be one of %s, not %q", flag.Name, strings.Join(flag.EnumSlice(), ", "), value)
	}
	return nil
}

func fromEnvironment(flag *kong.Flag) string {
	if len(flag.Envs) == 0 {
		return ""
	}
	return fmt.Sprintf(" (or %s in the environment)", strings.Join(flag.Envs, ", "))
}

// list is a list of problems, each once.
type list []error

func (l *list) add(err error) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, err := range several.Unwrap() {
			l.add(err)
		}
		return
	}
	known := func(e error) bool { return e.Error() == err.Error() }
	if err != nil && !slices.ContainsFunc(*l, known) {
		*l = append(*l, err)
	}
}

// validate adds what is wrong with a struct and the structs embedded in it.
func (l *list) validate(v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return
	}
	if validator, ok := reflect.TypeAssert[interface{ Validate() error }](v.Addr()); ok {
		l.add(validator.Validate())
	}
	for i := range v.NumField() {
		if _, embedded := v.Type().Field(i).Tag.Lookup("embed"); embedded {
			l.validate(v.Field(i))
		}
	}
}

// settings returns the configuration in force, one attribute per flag, with secrets
// redacted.
func settings(flags []*kong.Flag) []any {
	var attributes []any
	for _, flag := range flags {
		if slices.Contains([]string{"help", "version", "healthcheck"}, flag.Name) {
			continue
		}
		value := flag.Target
		for value.Kind() == reflect.Pointer && !value.IsNil() {
			value = value.Elem()
		}
		attributes = append(attributes, slog.String(flag.Name, redact(flag.Name, fmt.Sprint(value))))
	}
	return attributes
}

// onCommandLine returns the names of the flags on the command line that hold a secret.
func onCommandLine(args []string) (names []string) {
	for _, arg := range args {
		name, isFlag := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && secretName(name) {
			names = append(names, "--"+name)
		}
	}
	return names
}

// secretName reports whether the name of a flag stands for a secret.
func secretName(name string) bool {
	return slices.ContainsFunc([]string{"password", "token", "secret", "seed"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// redact hides the value of a flag whose name stands for a secret, and the passwords in
// URLs, of which there may be several, separated by commas. Flags that name files keep
// their paths.
func redact(name, value string) string {
	if secretName(name) && value != "" {
		return "xxxxx"
	}
	if !strings.Contains(value, "://") {
		return value
	}
	parts := strings.Split(value, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil {
			parts[i] = "(not a URL)"
			continue
		}
		parts[i] = u.Redacted()
	}
	return strings.Join(parts, ",")
}
