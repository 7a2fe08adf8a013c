package live

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// A part of a page mostly changes in a few of its texts and attributes. A patch
// names only these. It reads [elements, change, ...], where elements is the number
// of elements of the part, and a change is one of
//
//	[element, child, text]                     a text among the children
//	[element, attribute, value]                an attribute
//	[element, attribute, start, length, text]  a piece of an attribute, in ASCII
//	[element, attribute]                       an attribute that is gone
//
// Elements are numbered in the order of the document, the part itself is 0.

// node is an element's start, its end, or a text between.
type node struct {
	kind       html.TokenType
	name, text string // of an element, of a text
	attributes []html.Attribute
	// element is the number of the element; for a text it is the number of its parent,
	// whose child-th child it is.
	element, child int
	said           bool // a text that the page's script writes itself
}

// outline is a part as its nodes; elements is 0 when it cannot be patched.
type outline struct {
	nodes    []node
	elements int
}

// empty are the elements that have no end.
var empty = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

// outlineOf reads a part. A part that a browser would not build as it is written, or
// in which it keeps a state of its own, is not patched.
func outlineOf(source string) (o outline) {
	type parent struct {
		element, children int
		name              string
		said              bool
	}
	var open []parent
	for z := html.NewTokenizer(strings.NewReader(source)); ; {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			if len(open) > 0 {
				return outline{}
			}
			return o
		case html.TextToken:
			text := string(z.Text())
			if len(open) == 0 {
				if strings.TrimSpace(text) != "" {
					return outline{}
				}
				continue
			}
			p := &open[len(open)-1]
			o.nodes = append(o.nodes, node{kind: kind, text: text, element: p.element, child: p.children, said: p.said})
			p.children++
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			switch t.Data {
			case "noscript", "script", "style", "textarea", "select", "pre":
				return outline{}
			}
			said := false
			if n := len(open); n > 0 {
				open[n-1].children++
				if t.Data == "tr" && open[n-1].name == "table" {
					return outline{} // the browser adds a tbody
				}
			} else if o.elements > 0 {
				return outline{} // a part is one element
			}
			for _, a := range t.Attr {
				said = said || t.Data == "time" && a.Key == "data-as"
			}
			o.nodes = append(o.nodes, node{kind: html.StartTagToken, name: t.Data, attributes: t.Attr, element: o.elements})
			if kind == html.StartTagToken && !slices.Contains(empty, t.Data) {
				open = append(open, parent{element: o.elements, name: t.Data, said: said})
			}
			o.elements++
		case html.EndTagToken:
			name, _ := z.TagName()
			n := len(open)
			if n == 0 || open[n-1].name != string(name) {
				return outline{}
			}
			open = open[:n-1]
			o.nodes = append(o.nodes, node{kind: kind, name: string(name)})
		default:
			return outline{}
		}
	}
}

// patch returns the patch that changes one outline into another, nil if there is
// none.
func (o outline) patch(to outline) []byte {
	if o.elements == 0 || o.elements != to.elements || len(o.nodes) != len(to.nodes) {
		return nil
	}
	changes := []any{to.elements}
	for i, old := range o.nodes {
		now := to.nodes[i]
		if old.kind != now.kind || old.name != now.name {
			return nil
		}
		switch {
		case now.kind == html.TextToken:
			if now.text != old.text && !now.said {
				changes = append(changes, []any{now.element, now.child, now.text})
			}
		case now.kind == html.StartTagToken:
			more, ok := patchAttributes(old, now)
			if !ok {
				return nil
			}
			changes = append(changes, more...)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(changes); err != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func patchAttributes(old, now node) (changes []any, ok bool) {
	if slices.Equal(old.attributes, now.attributes) {
		return nil, true
	}
	value := func(n node, key string) (string, bool) {
		for _, a := range n.attributes {
			if a.Key == key && a.Namespace == "" {
				return a.Val, true
			}
		}
		return "", false
	}
	for _, a := range old.attributes {
		if _, there := value(now, a.Key); !there {
			changes = append(changes, []any{now.element, a.Key})
		}
	}
	for _, a := range now.attributes {
		was, there := value(old, a.Key)
		switch {
		case there && was == a.Val:
		case a.Namespace != "" || a.Key == "id":
			return nil, false
		case a.Key == "value" || a.Key == "checked" || a.Key == "selected" || a.Key == "open":
			return nil, false // the browser keeps a state of its own for these
		case now.name == "time" && a.Key == "title": // the script writes the moment there as well
		default:
			changes = append(changes, patchAttribute(now.element, a.Key, was, a.Val, there))
		}
	}
	return changes, true
}

// shortValue is the length up to which a piece of an attribute saves nothing over
// the whole attribute.
const shortValue = 32

func patchAttribute(element int, key, was, now string, there bool) []any {
	start := 0
	for start < len(was) && start < len(now) && was[start] == now[start] {
		start++
	}
	end := 0
	for end < len(was)-start && end < len(now)-start && was[len(was)-1-end] == now[len(now)-1-end] {
		end++
	}
	if piece := now[start : len(now)-end]; there && len(piece)+shortValue < len(now) && isASCII(was) && isASCII(now) {
		return []any{element, key, start, len(was) - end - start, piece}
	}
	return []any{element, key, now}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
