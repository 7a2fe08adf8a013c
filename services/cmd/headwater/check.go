package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"headwater/services/internal/config"
	"headwater/services/rule"
)

// checkCmd reads configuration files as standalone does.
type checkCmd struct {
	Files []string `arg:"" name:"file" help:"Files with rules and channels." type:"existingfile"`
}

// errRefused is returned when a file has problems, which have been printed.
var errRefused = errors.New("not every file is right")

// Run prints each problem of each file in a line, or how much is in it.
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
		rules := 0
		for _, r := range parsed.Rules {
			if r.Origin == rule.FromFile {
				rules++
			}
		}
		fmt.Fprintf(s.out, "%s: right, with %d rules and %d channels\n", name, rules, len(parsed.Channels))
	}
	if refused {
		return errRefused
	}
	return nil
}

// readConfig reads as much of a file as the parser takes, and a byte more.
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
