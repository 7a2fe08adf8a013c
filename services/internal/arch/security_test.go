package arch_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// threats is how many rows the table of .github/SECURITY.md has.
const threats = 40

var (
	threatInText = regexp.MustCompile(`(?m)^\| (\d+) \|.*$`)
	// reasonInText is what a row says that no test shows, or not in full.
	reasonInText = regexp.MustCompile(`none needed|has no test|\*Part\*|\*Not done\*`)
)

// TestEveryThreatHasATest checks that each row of the table of threats names a test that shows
// what protects, or says why there is none. TestDocuments checks that the tests exist.
func TestEveryThreatHasATest(t *testing.T) {
	const name = ".github/SECURITY.md"
	next := 1
	for _, found := range threatInText.FindAllStringSubmatch(documents(t)[name], -1) {
		if found[1] != strconv.Itoa(next) {
			t.Errorf("%s: row %s stands where row %d is expected", name, found[1], next)
		}
		next++
		if why := unproved(found[0]); why != "" {
			t.Errorf("%s: row %s %s", name, found[1], why)
		}
	}
	if next != threats+1 {
		t.Errorf("%s has %d rows, want %d", name, next-1, threats)
	}
}

// unproved returns what is wrong with a row: its last column must name a test or give a reason;
// without a test the row must say what is missing.
func unproved(row string) string {
	columns := strings.Split(strings.Trim(row, "| "), " | ")
	if len(columns) < 3 || len(columns) > 4 {
		return "does not have four columns"
	}
	shown := strings.Join(columns[3:], "")
	if !testInText.MatchString(shown) && !reasonInText.MatchString(row) {
		return "names no test and no reason why there is none"
	}
	return ""
}

func TestUnproved(t *testing.T) {
	for row, good := range map[string]bool{
		"| 1 | threat | protection | `TestThreat` |":                 true,
		"| 1 | threat | protection | `FuzzThreat`, in part |":        true,
		"| 1 | threat | No such listener | none needed |":            true,
		"| 1 | threat | *Not done*: nothing protects | |":            true,
		"| 1 | threat | protection | |":                              false,
		"| 1 | threat | protection as TestElsewhere says | by eye |": false,
		"| 1 | threat |": false,
	} {
		if got := unproved(row); (got == "") != good {
			t.Errorf("%s: %q", row, got)
		}
	}
}
