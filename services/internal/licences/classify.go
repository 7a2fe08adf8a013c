package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// allowed are the licences under which Headwater, which is under Apache-2.0, may contain a
// module. MPL-2.0 asks for changes of its own files only, and there are none.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense"}

// decided are modules with a choice of licences, or whose licence is not in a file of that
// name. Their README is handed on instead.
var decided = map[string][]string{
	// "EPL-2.0 or EDL-1.0"; the Eclipse Distribution License 1.0 is BSD-3-Clause.
	"github.com/eclipse/paho.mqtt.golang": {"BSD-3-Clause"},
	// The licence is in the root of its repository, and named in each file.
	"github.com/apache/arrow/go/arrow": {"Apache-2.0"},
	// The text is in the README.
	"github.com/bmizerany/pat": {"MIT"},
	// It asks for less than MIT: the clause about the notice is not there.
	"github.com/glycerine/go-unsnap-stream": {"MIT"},
}

// phrases are what only one licence says. All of a licence's phrases must be there, and
// none of those that it excludes.
var phrases = []struct {
	licence string
	says    []string
	not     string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0, january 2004"}, ""},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products"}, ""},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}, "endorse or promote products"},
	{"MIT", []string{"permission is hereby granted, free of charge", "the above copyright notice and this permission notice"}, ""},
	{"ISC", []string{"permission to use, copy, modify, and", "with or without fee is hereby granted, provided that the above copyright notice"}, ""},
	{"0BSD", []string{"permission to use, copy, modify, and", "with or without fee is hereby granted.", "with or without fee"}, "provided that the above copyright notice"},
	{"MPL-2.0", []string{"mozilla public license version 2.0"}, ""},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}, ""},
	{"EPL-2.0", []string{"eclipse public license - v 2.0"}, ""},
	{"GPL", []string{"gnu general public license", "terms and conditions"}, ""},
	{"LGPL", []string{"gnu lesser general public license", "terms and conditions"}, ""},
	{"AGPL", []string{"gnu affero general public license", "terms and conditions"}, ""},
	{"CC-BY-SA", []string{"attribution-sharealike"}, ""},
	{"BUSL", []string{"business source license"}, ""},
	{"SSPL", []string{"server side public license"}, ""},
}

// classify finds the licences of a module in its folder. All that it finds must be
// allowed.
func (m *module) classify() error {
	files, err := os.ReadDir(m.Dir)
	if m.Dir == "" || err != nil {
		return fmt.Errorf("%s: its files are not here (go mod download): %w", m.Path, err)
	}
	for _, file := range files {
		upper := strings.ToUpper(file.Name())
		isText := len(decided[m.Path]) > 0 && upper == "README.MD" || slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE", "EDL-V10"}, func(prefix string) bool {
			return strings.HasPrefix(upper, prefix)
		})
		if file.IsDir() || !isText || strings.HasSuffix(upper, ".GO") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(m.Dir, file.Name()))
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		}
		m.texts = append(m.texts, text{file.Name(), string(body)})
		m.licences = append(m.licences, classify(string(body))...)
	}
	slices.Sort(m.licences)
	m.licences = slices.Compact(m.licences)
	if chosen, ok := decided[m.Path]; ok {
		m.licences = chosen
	}
	if len(m.licences) == 0 {
		return fmt.Errorf("%s: no known licence in %s", m.Path, m.Dir)
	}
	for _, l := range m.licences {
		if !slices.Contains(allowed, l) {
			return fmt.Errorf("%s is under %s, which is not on the list of allowed licences", m.Path, l)
		}
	}
	return nil
}

// classify returns the licences whose texts a file contains, by their SPDX names.
func classify(body string) []string {
	plain := strings.ToLower(strings.Join(strings.Fields(strings.NewReplacer("*", " ", "//", " ", "#", " ", "“", `"`, "”", `"`).Replace(body)), " "))
	var found []string
	for _, p := range phrases {
		if p.not != "" && strings.Contains(plain, p.not) {
			continue
		}
		if !slices.ContainsFunc(p.says, func(s string) bool { return !strings.Contains(plain, s) }) {
			found = append(found, p.licence)
		}
	}
	return found
}
