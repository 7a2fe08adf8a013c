package gateway_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFormsOfBodies posts the same reading in each form.
func TestFormsOfBodies(t *testing.T) {
	f := run(t).ready()
	for _, test := range []struct{ kind, query, body, stored string }{
		{"application/json", "", item("a", 1), "s/a/m=1"},
		{"application/json", "?site=s&device=b", `{"m":{"x":1},"n":2}`, "s/b/m_x=1 s/b/n=2"},
		{"application/x-ndjson", "", item("c", 1) + "\n" + item("d", 2) + "\n", "s/c/m=1 s/d/m=2"},
		{"text/csv; charset=utf-8", "", "site,device,m,n\ns,e,1,2\n", "s/e/m=1 s/e/n=2"},
		{"text/csv", "?site=s&device=f", "m;n\n1,5;2\n", "s/f/m=1.5 s/f/n=2"},
		{"application/senml+json", "?site=s&device=g", `[{"n":"m","v":1}]`, "s/g/m=1"},
		{"application/senml+cbor", "?site=s&device=h", "\x81\xa2\x00\x61m\x02\x01", "s/h/m=1"},
		{"application/cbor", "?site=s&device=i", "\xa1\x61m\x01", "s/i/m=1"},
		{"application/msgpack", "?site=s&device=j", "\x81\xa1m\x01", "s/j/m=1"},
	} {
		before, _ := f.stored()
		got, err := f.sendTo(test.query, strings.NewReader(test.body), "Content-Type", test.kind)
		if err != nil || got.Status != 202 {
			t.Errorf("%s%s: answer is %+v, %v", test.kind, test.query, got, err)
			continue
		}
		after, _ := f.stored()
		for reading := range before {
			delete(after, reading)
		}
		want := make(map[string]int)
		for reading := range strings.FieldsSeq(test.stored) {
			want[reading] = 1
		}
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("%s%s: stored (-want +got):\n%s", test.kind, test.query, diff)
		}
	}
	// What is good in a body with a bad line is stored, and the answer says which was not.
	got, err := f.send(strings.NewReader(item("k", 1)+"\n{\n"+item("k", 2)), "Content-Type", "application/x-ndjson")
	if err != nil || got.Status != 202 || got.Accepted != 2 || len(got.Errors) != 1 || got.Errors[0].Index != 1 {
		t.Errorf("a bad line: answer is %+v, %v", got, err)
	}
	if got, err := f.sendTo("?device=a%20b", strings.NewReader("{}"), "Content-Type", "application/json"); err != nil || got.Status != 400 {
		t.Errorf("a device that cannot be: answer is %+v, %v", got, err)
	}
}
