package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"headwater/services/internal/config"
	"headwater/services/internal/process"
	"headwater/services/rule"
)

// checkCmd checks configuration files as standalone reads them.
type checkCmd struct {
	Files []string `arg:"" name:"file" help:"Files with rules and channels." type:"existingfile"`
}

// errRefused is returned when a file has problems. They have been printed already.
var errRefused = errors.New("check failed")

// Run prints each problem of each file on a line, or how many rules and channels it has.
func (c checkCmd) Run(s *session) error {
	refused := false
	for _, name := range c.Files {
		text, err := readConfig(name)
		if err != nil {
			return err
		}
		parsed, err := config.ParseFile(name, text)
		if err != nil {
			refused = true
			fmt.Fprintln(s.out, err)
			continue
		}
		missing := secretProblems(name, parsed)
		for _, problem := range missing {
			fmt.Fprintln(s.out, problem)
		}
		if len(missing) > 0 {
			refused = true
			continue
		}
		rules := 0
		for _, r := range parsed.Rules {
			if r.Origin == rule.FromFile {
				rules++
			}
		}
		fmt.Fprintf(s.out, "%s: OK: %s and %s\n", name, count(rules, "rule"), count(len(parsed.Channels), "channel"))
	}
	if refused {
		return errRefused
	}
	return nil
}

// secretProblems lists the secret files of the channels that can't be used. Like
// standalone, it looks for them in the folder of the configuration.
func secretProblems(name string, c *config.Config) []string {
	var out []string
	read := func(channel, field, path string, check func(config.Secret) error) {
		if path == "" {
			return
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(name), path)
		}
		text, err := process.ReadSecret(path)
		if err == nil {
			err = check(config.Secret(text))
			if err != nil {
				err = fmt.Errorf("what %s holds %w", path, err)
			}
		}
		if err != nil {
			out = append(out, fmt.Sprintf("%s: channel %s: %s: %v", name, channel, field, err))
		}
	}
	for _, ch := range c.Channels {
		read(ch.Name, "url_file", ch.URLFile, func(s config.Secret) error { return config.CheckURL(ch.Type, s) })
		read(ch.Name, "secret_file", ch.SecretFile, config.CheckSecret)
	}
	return out
}

// readConfig reads a file up to one byte more than the parser accepts.
func readConfig(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, config.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}

// schemaCmd prints the schema of configuration files.
type schemaCmd struct{}

// Run prints the schema.
func (schemaCmd) Run(s *session) error {
	_, err := s.out.Write(config.Schema())
	return err
}
