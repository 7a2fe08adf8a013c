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
	eachConfig(parser.Model.Target, func(v reflect.Value) {
		if validator, ok := reflect.TypeAssert[interface{ Validate() error }](v.Addr()); ok {
			found.add(validator.Validate())
		}
	})
	return errors.Join(found...)
}

// completeFlags gives flags what their tags leave out. The environment variable of a flag
// is HEADWATER_ and its name, unless the tag names another one, or none by "-". Help that
// is too long for a tag comes from the method FlagHelp of the struct, by field.
func completeFlags() kong.Option {
	return kong.PostBuild(func(k *kong.Kong) error {
		for _, flag := range k.Model.Flags {
			switch {
			case slices.Equal(flag.Envs, []string{"-"}):
				flag.Envs, flag.Tag.Envs = nil, nil
			case len(flag.Envs) == 0 && flag.Name != "help":
				flag.Envs = []string{"HEADWATER_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))}
				flag.Tag.Envs = flag.Envs
			}
		}
		return setLongHelp(k)
	})
}

func setLongHelp(k *kong.Kong) error {
	flags := map[uintptr]*kong.Flag{}
	for _, flag := range k.Model.Flags {
		flags[flag.Target.Addr().Pointer()] = flag
	}
	var errs []error
	eachConfig(k.Model.Target, func(v reflect.Value) {
		helper, ok := reflect.TypeAssert[interface{ FlagHelp() map[string]string }](v.Addr())
		if !ok {
			return
		}
		for field, text := range helper.FlagHelp() {
			if f := v.FieldByName(field); f.IsValid() && flags[f.Addr().Pointer()] != nil {
				flags[f.Addr().Pointer()].Help = text
			} else {
				errs = append(errs, fmt.Errorf("FlagHelp of %s: no flag is the field %s", v.Type(), field))
			}
		}
	})
	return errors.Join(errs...)
}

// eachConfig calls visit with a struct and with those embedded in it.
func eachConfig(v reflect.Value, visit func(reflect.Value)) {
	v = reflect.Indirect(v)
	if v.Kind() != reflect.Struct {
		return
	}
	visit(v)
	for i := range v.NumField() {
		if _, embedded := v.Type().Field(i).Tag.Lookup("embed"); embedded {
			eachConfig(v.Field(i), visit)
		}
	}
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
	return slices.ContainsFunc([]string{"password", "token", "secret", "seed", "join"}, func(end string) bool { return strings.HasSuffix(name, end) })
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
