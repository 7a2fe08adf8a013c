// Testreport reads `go test -json` and prints what `go test` prints without it: a line
// for each package, and the output of failed tests. It fails if a test failed or was
// skipped: continuous integration has everything that tests need, so a skip means that
// something was not tested.
//
//	go test -json work | go run .ci/testreport.go
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

func main() {
	r := report{output: make(map[string]map[string][]string)}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text()) // not output of a test, but for instance of a download
			continue
		}
		r.take(e)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "read the events of the tests:", err)
		os.Exit(2)
	}
	fmt.Printf("%d tests passed, %d failed, %d skipped; %d packages failed\n", r.passed, r.failed, len(r.skipped), r.packages)
	for _, name := range r.skipped {
		fmt.Println("skipped:", name)
	}
	if r.passed == 0 || r.failed > 0 || r.packages > 0 || len(r.skipped) > 0 {
		os.Exit(1)
	}
}

// report counts the tests and keeps the output of running tests, by package and test.
// The output of a package itself has an empty test name.
type report struct {
	passed, failed, packages int
	skipped                  []string
	output                   map[string]map[string][]string
}

func (r *report) take(e event) {
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		if r.output[e.Package] == nil {
			r.output[e.Package] = make(map[string][]string)
		}
		r.output[e.Package][e.Test] = append(r.output[e.Package][e.Test], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
	}
}

func (r *report) endTest(e event) {
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped = append(r.skipped, e.Package+" "+e.Test+": "+reason(r.output[e.Package][e.Test]))
	case "fail":
		r.failed++
		printAll(r.output[e.Package][e.Test])
	}
	delete(r.output[e.Package], e.Test)
}

// reason returns why a test was skipped, from its output.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		if !strings.HasPrefix(line, "===") && !strings.HasPrefix(strings.TrimSpace(line), "---") {
			words = append(words, strings.TrimSpace(line))
		}
	}
	return strings.Join(words, " ")
}

// endPackage prints the last line of a package that passed. Of a package that failed it
// prints everything, including the output of tests that never ended, which may be the
// cause.
func (r *report) endPackage(e event) {
	own := r.output[e.Package][""]
	delete(r.output[e.Package], "")
	if e.Action == "fail" {
		r.packages++
		unended := make([]string, 0, len(r.output[e.Package]))
		for test := range r.output[e.Package] {
			unended = append(unended, test)
		}
		slices.Sort(unended)
		for _, test := range unended {
			printAll(r.output[e.Package][test])
		}
		printAll(own)
	} else {
		for _, line := range own {
			if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") {
				fmt.Print(line)
			}
		}
	}
	delete(r.output, e.Package)
}

func printAll(lines []string) {
	for _, line := range lines {
		fmt.Print(line)
	}
}
