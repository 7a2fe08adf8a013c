package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"
)

// bill is a bill of materials as CycloneDX 1.5 writes it. The fields are those that
// scanners look for.
type bill struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string          `json:"type"`
	Ref        string          `json:"bom-ref"`
	Name       string          `json:"name"`
	Version    string          `json:"version,omitempty"`
	PURL       string          `json:"purl,omitempty"`
	Licences   []licenceChoice `json:"licenses,omitempty"`
	Properties []property      `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type licenceChoice struct {
	License licenceID `json:"license"`
}

type licenceID struct {
	ID string `json:"id"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// billOf returns the bill of materials of a program. It is the same for the same input,
// so that a build can be repeated.
func billOf(name string, info *debug.BuildInfo, all []module) bill {
	root := component{Type: "application", Ref: "headwater/" + name, Name: "headwater/" + name, Version: info.Main.Version, Licences: licencesOf([]string{"Apache-2.0"})}
	out := bill{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Metadata: metadata{root}}
	hash := sha256.New()
	fmt.Fprintln(hash, name, info.GoVersion, info.Main.Version)
	dependsOn := dependency{Ref: root.Ref}
	for _, m := range all {
		c := component{Type: "library", Name: m.Path, Version: m.Version, Licences: licencesOf(m.licences)}
		switch {
		case m.Path == goLibrary:
			c.Name, c.PURL = "stdlib", "pkg:golang/stdlib@"+m.Version
		case m.Sum != "":
			c.PURL = "pkg:golang/" + strings.ToLower(m.Path) + "@" + m.Version
			c.Properties = []property{{"headwater:go.sum", m.Sum}}
		}
		c.Ref = m.Path + "@" + m.Version
		out.Components = append(out.Components, c)
		dependsOn.DependsOn = append(dependsOn.DependsOn, c.Ref)
		fmt.Fprintln(hash, c.Ref, m.Sum)
	}
	out.Dependencies = []dependency{dependsOn}
	id := hash.Sum(nil)
	// The form of a UUID of version 8, which is of one's own making.
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	h := hex.EncodeToString(id)
	out.Serial = fmt.Sprintf("urn:uuid:%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:32])
	return out
}

func licencesOf(names []string) []licenceChoice {
	var out []licenceChoice
	for _, n := range names {
		out = append(out, licenceChoice{licenceID{n}})
	}
	return out
}
