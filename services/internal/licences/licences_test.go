package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// TestLicences finds the licence of every module that a program is made of, refuses those
// that are not allowed, and compares the list with the file that is handed on.
func TestLicences(t *testing.T) {
	got, err := table()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../../deploy/THIRD_PARTY.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("deploy/THIRD_PARTY.md is stale: run `go tool task generate:licences`")
	}
	if n := strings.Count(got, "\n| "); n < 50 {
		t.Errorf("only %d modules are listed", n)
	}
}

func TestClassify(t *testing.T) {
	bsd := "Redistribution and use in source and binary\n * forms, with or without modification"
	for _, test := range []struct{ body, want string }{
		{"Apache License\n   Version 2.0, January 2004", "Apache-2.0"},
		{bsd, "BSD-2-Clause"},
		{bsd + " may be used to endorse or promote products derived", "BSD-3-Clause"},
		{"Permission is hereby granted, free of charge ... The above copyright notice and this permission notice shall", "MIT"},
		{"Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice", "ISC"},
		{"Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted.", "0BSD"},
		{"GNU GENERAL PUBLIC LICENSE Version 3 ... TERMS AND CONDITIONS", "GPL"},
		{"All rights reserved.", ""},
		{"", ""},
	} {
		if got := strings.Join(classify(test.body), ","); got != test.want {
			t.Errorf("%.60q is %q, want %q", test.body, got, test.want)
		}
	}
}

// TestLicencesThatAreNotAllowed has modules that must stop the build.
func TestLicencesThatAreNotAllowed(t *testing.T) {
	for name, body := range map[string]string{
		"LICENSE":    "GNU AFFERO GENERAL PUBLIC LICENSE ... TERMS AND CONDITIONS",
		"COPYING":    "You may look at this.",
		"README.md":  "Permission is hereby granted, free of charge. The above copyright notice and this permission notice",
		"LICENSE.go": "Apache License Version 2.0, January 2004",
	} {
		m := module{Path: "example.org/odd", Dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(m.Dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.classify(); err == nil {
			t.Errorf("%s: %v was taken", name, m.licences)
		}
	}
}

// TestBill checks the bill of materials of a program with one module.
func TestBill(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"}}
	all := []module{
		{Path: "example.org/Mod", Version: "v0.1.0", Sum: "h1:abc=", licences: []string{"MIT"}, texts: []text{{"LICENSE", "the text"}}},
		{Path: "example.org/other", Version: "v0.2.0", Sum: "h1:def=", licences: []string{"MIT"}, texts: []text{{"LICENSE", "the text"}}},
		{Path: goLibrary, Version: "1.26.8", licences: []string{"BSD-3-Clause"}},
	}
	b := billOf("writer", info, all)
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"bomFormat":"CycloneDX","specVersion":"1.5"`, `"name":"headwater/writer","version":"v1.2.3"`,
		`"purl":"pkg:golang/example.org/mod@v0.1.0","licenses":[{"license":{"id":"MIT"}}]`, `"purl":"pkg:golang/stdlib@1.26.8"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.Serial) {
		t.Errorf("serial number %s", b.Serial)
	}
	if again := billOf("writer", info, all); again.Serial != b.Serial {
		t.Error("the same input has another serial number")
	}
	var refs []string
	for _, c := range b.Components {
		refs = append(refs, c.Ref)
	}
	if !slices.Equal(refs, b.Dependencies[0].DependsOn) {
		t.Errorf("components %v, dependencies %v", refs, b.Dependencies)
	}
	if texts := textsOf(all); strings.Count(texts, "the text") != 1 || !strings.Contains(texts, "example.org/other v0.2.0, LICENSE") {
		t.Errorf("texts: %s", texts)
	}
}
