package config

import (
	"bytes"
	"slices"
)

// Earlier versions stored a configuration as one text: what people wrote in a file,
// behind a marker line the sections that were kept, and behind another one the
// author, the name of the file and the rules made on the page.
const (
	keptMark = "--- # Kept by Headwater: what was in force before and the file does not mention."
	pageMark = "--- # Kept by Headwater: who made this version, and the rules made on the page."
)

// decodeText reads such a text. One without marker lines is all file.
func decodeText(text []byte) (Parts, error) {
	file, page, paged := cutAt(text, pageMark)
	file, base, _ := cutAt(file, keptMark)
	p := Parts{File: file}
	for _, s := range sections(base) {
		if s.name != rulesSection {
			p.Base = append(p.Base, s.text...)
		}
	}
	p.Kept = piecesOf(base)
	if !paged {
		return p, nil
	}
	r := &reader{name: "configuration", file: "configuration"}
	root := r.root(page)
	if root == nil {
		return Parts{}, r.problems()
	}
	top := r.object(value{node: root, line: line(root)}, "author", "file", rulesSection)
	if top == nil {
		return Parts{}, r.problems()
	}
	top.string("author", &p.Author)
	top.string("file", &p.FileName)
	p.Rules = piecesOf(page)
	return p, r.problems()
}

// whole reports whether a stored text is nothing but what people wrote in a file.
func whole(stored []byte) bool {
	return !Encoded(stored) && !slices.ContainsFunc([]string{keptMark, pageMark}, func(mark string) bool {
		_, _, found := cutAt(stored, mark)
		return found
	})
}

// cutAt returns what lies before and behind the last line that is the mark.
func cutAt(text []byte, mark string) (before, behind []byte, found bool) {
	at := bytes.LastIndex(text, []byte("\n"+mark+"\n"))
	if at < 0 {
		return text, nil, false
	}
	return text[:at+1], text[at+len(mark)+2:], true
}
