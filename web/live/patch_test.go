package live

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

// apply does to a part what the page's script does with a patch.
func apply(t *testing.T, source string, patch []byte) outline {
	t.Helper()
	o := outlineOf(source)
	var changes []any
	if err := json.Unmarshal(patch, &changes); err != nil {
		t.Fatal(err)
	}
	if int(changes[0].(float64)) != o.elements {
		t.Fatalf("%v elements, the part has %d", changes[0], o.elements)
	}
	for _, c := range changes[1:] {
		change := c.([]any)
		element := int(change[0].(float64))
		i := slices.IndexFunc(o.nodes, func(n node) bool {
			child, text := change[1].(float64)
			if text {
				return n.kind == html.TextToken && n.element == element && n.child == int(child)
			}
			return n.kind == html.StartTagToken && n.element == element
		})
		n := &o.nodes[i]
		key, attribute := change[1].(string)
		at := slices.IndexFunc(n.attributes, func(a html.Attribute) bool { return a.Key == key })
		switch {
		case !attribute:
			n.text = change[2].(string)
		case len(change) == 2:
			n.attributes = slices.Delete(n.attributes, at, at+1)
		case len(change) == 3 && at < 0:
			n.attributes = append(n.attributes, html.Attribute{Key: key, Val: change[2].(string)})
		case len(change) == 3:
			n.attributes[at].Val = change[2].(string)
		default:
			was, start, length := n.attributes[at].Val, int(change[2].(float64)), int(change[3].(float64))
			n.attributes[at].Val = was[:start] + change[4].(string) + was[start+length:]
		}
	}
	return o
}

func TestPatchMakesOnePartOfAnother(t *testing.T) {
	path := strings.Repeat("L1.0 2.0", 30)
	for name, c := range map[string]struct{ from, to, want string }{
		"a text":               {`<p id="a">1 <b>x</b> 2</p>`, `<p id="a">1 <b>y</b> 3</p>`, `[2,[1,0,"y"],[0,2," 3"]]`},
		"a text that is HTML":  {`<p id="a">1</p>`, `<p id="a">&lt;img src=x onerror=alert(1)&gt;</p>`, `[1,[0,0,"<img src=x onerror=alert(1)>"]]`},
		"attributes":           {`<p id="a" class="x" title="t">1</p>`, `<p id="a" class="y" hidden>1</p>`, `[1,[0,"title"],[0,"class","y"],[0,"hidden",""]]`},
		"a piece of a path":    {`<svg id="a"><path d="M` + path + `Z"></path><path d="x"></path></svg>`, `<svg id="a"><path d="M` + path + `L9Z"></path><path d="x"></path></svg>`, `[3,[1,"d",241,0,"L9"]]`},
		"no ASCII, no piece":   {`<p id="a" title="` + path + `ä1"></p>`, `<p id="a" title="` + path + `ä2"></p>`, `[1,[0,"title","` + path + `ä2"]]`},
		"a moment is one":      {`<p id="a"><time datetime="1" title="1" data-as="ago">one</time></p>`, `<p id="a"><time datetime="2" title="2" data-as="ago">two</time></p>`, `[2,[1,"datetime","2"]]`},
		"an element that came": {`<p id="a">1</p>`, `<p id="a"><b>1</b></p>`, ""},
		"a text that came":     {`<p id="a"><b></b></p>`, `<p id="a"><b>1</b></p>`, ""},
		"another element":      {`<p id="a"><b>1</b></p>`, `<p id="a"><i>1</i></p>`, ""},
		"what a person typed":  {`<p id="a"><input value="1"></p>`, `<p id="a"><input value="2"></p>`, ""},
		"what needs no script": {`<p id="a"><noscript>1</noscript></p>`, `<p id="a"><noscript>2</noscript></p>`, ""},
		"a tbody to be added":  {`<table id="a"><tr><td>1</td></tr></table>`, `<table id="a"><tr><td>2</td></tr></table>`, ""},
		"two roots":            {`<p id="a">1</p><p>1</p>`, `<p id="a">2</p><p>1</p>`, ""},
		"not closed":           {`<p id="a">1`, `<p id="a">2`, ""},
	} {
		patch := outlineOf(c.from).patch(outlineOf(c.to))
		if string(patch) != c.want {
			t.Errorf("%s: %s, want %s", name, patch, c.want)
		}
		if patch == nil || strings.Contains(c.to, "<time") {
			continue
		}
		got := apply(t, c.from, patch)
		if diff := cmp.Diff(outlineOf(c.to), got, cmp.AllowUnexported(outline{}, node{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
