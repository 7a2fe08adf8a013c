package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	services "headwater/services/functions"
	"headwater/services/functions/guest"
	"headwater/services/internal/function"
	"headwater/web/functions"
	"headwater/web/ui"
)

// built is the file that fn build makes in the folder of a function.
const built = "function.wasm"

// golden is the end of the files with what a function is to answer, a line for each reading.
const golden = ".golden"

type fnNewCmd struct {
	Name     string `arg:"" help:"Name of the function, and of the folder that is made."`
	Template string `enum:"${templates}" default:"calibrate" help:"One of ${enum}." placeholder:"NAME"`
}

// Run makes the folder of a function.
func (c *fnNewCmd) Run(s *session) error {
	if !functionName(filepath.Base(c.Name)) {
		return usage(fmt.Sprintf("%q is no name of 1 to 64 letters, digits, hyphens or underscores", safe(filepath.Base(c.Name))))
	}
	if err := guest.New(c.Name, filepath.Base(c.Name), c.Template); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is made: change main.go, then headwater fn build %[1]s\n", safe(c.Name))
	return err
}

func functionName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

type fnBuildCmd struct {
	Folder string `arg:"" type:"existingdir" help:"Folder of the function."`
}

// Run builds a function.
func (c *fnBuildCmd) Run(s *session) error {
	out := filepath.Join(c.Folder, built)
	if err := guest.Build(s.ctx, c.Folder, out); err != nil {
		return err
	}
	info, err := os.Stat(out)
	if err != nil {
		return fmt.Errorf("look at what was built: %w", err)
	}
	_, err = fmt.Fprintf(s.out, "%s has %s\n", safe(out), ui.FormatBytes(uint64(info.Size())))
	return err
}

// fnLimits are the limits of a call.
type fnLimits struct {
	Memory int           `default:"64" help:"MiB of memory that it may have, at most 256." placeholder:"MIB"`
	Time   time.Duration `default:"1s" help:"How long a call may take, at most 30s."`
	Output int           `default:"256" help:"KiB that a call may answer, at most 1024." placeholder:"KIB"`
}

// code reads WebAssembly: that of a folder, or a file.
func readFunction(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, built)
	}
	code, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: headwater fn build makes it", safe(path))
	}
	if err != nil {
		return nil, fmt.Errorf("read a function: %w", err)
	}
	return code, function.CheckCode(code)
}

type fnTestCmd struct {
	Folder   string `arg:"" type:"existingdir" help:"Folder of the function, built before."`
	Update   bool   `help:"Write what it answers as what it is to answer."`
	fnLimits `embed:""`
}

// Run runs recorded readings through a function, from an empty state, in the order of their
// files' names.
func (c *fnTestCmd) Run(s *session) (err error) {
	code, err := readFunction(c.Folder)
	if err != nil {
		return err
	}
	inputs, err := filepath.Glob(filepath.Join(c.Folder, guest.Inputs, "*.json"))
	if err != nil || len(inputs) == 0 {
		return fmt.Errorf("%s has no files *.json with readings", safe(filepath.Join(c.Folder, guest.Inputs)))
	}
	r, err := services.NewRehearsal(s.ctx, code, function.Limits{Memory: c.Memory, Time: c.Time, Output: c.Output}.WithDefaults())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	failed := 0
	for _, input := range inputs {
		ok, err := c.one(s, r, input)
		if err != nil {
			return fmt.Errorf("%s: %w", safe(input), err)
		}
		if !ok {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s answered something else than it is to", failed, count(len(inputs), "file"))
	}
	return nil
}

// one runs one batch and reports whether the answer is what it is to be.
func (c *fnTestCmd) one(s *session, r *services.Rehearsal, input string) (bool, error) {
	batch, err := os.ReadFile(input)
	if err != nil {
		return false, fmt.Errorf("read a batch: %w", err)
	}
	got, err := r.Call(s.ctx, batch, func(line string) { fmt.Fprintf(s.err, "log: %s\n", safe(line)) })
	if err != nil {
		return false, err
	}
	file := strings.TrimSuffix(input, ".json") + golden
	text, err := os.ReadFile(file)
	if c.Update || errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(file, []byte(strings.Join(append(got, ""), "\n")), 0o644); err != nil {
			return false, fmt.Errorf("write the answer: %w", err)
		}
		fmt.Fprintf(s.out, "%s: %s, written to %s\n", safe(input), count(len(got), "reading"), safe(file))
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what it is to answer: %w", err)
	}
	want := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) == 0 {
		want = nil
	}
	if slices.Equal(got, want) {
		fmt.Fprintf(s.out, "%s: %s, as it is to be\n", safe(input), count(len(got), "reading"))
		return true, nil
	}
	fmt.Fprintf(s.out, "%s: it answers something else\n", safe(input))
	only := func(mark string, these, others []string) {
		for _, line := range these {
			if !slices.Contains(others, line) {
				fmt.Fprintf(s.out, "  %s %s\n", mark, safe(line))
			}
		}
	}
	only("-", want, got)
	only("+", got, want)
	return false, nil
}

type fnDeployCmd struct {
	Path     string   `arg:"" optional:"" help:"Folder of the function, built before, or a file of WebAssembly."`
	Name     string   `help:"Name of the function; that of the folder or file without it." placeholder:"NAME"`
	On       string   `enum:"readings,summaries,anomalies,alerts,schedule,http" default:"readings" help:"What it runs on: ${enum}." placeholder:"TRIGGER"`
	Match    []string `help:"Series of which it gets what it runs on: site/device/metric, each a name or *; repeatable." placeholder:"SERIES" sep:"none"`
	Cron     string   `help:"Times of a schedule, such as '0 7 * * mon-fri'." placeholder:"TIMES"`
	Site     string   `help:"Site in whose time zone the schedule is; the installation's without it." placeholder:"SITE"`
	Shadow   bool     `xor:"state" help:"Run it beside the live version, and only compare what it says."`
	Draft    bool     `xor:"state" help:"Do not run it yet."`
	Worker   bool     `help:"There is no code: workers take its requests over NATS."`
	fnLimits `embed:""`
}

// Run deploys a version.
func (c *fnDeployCmd) Run(s *session) error {
	d := functions.Draft{
		Kind: string(function.Wasm), On: c.On, Match: c.Match, Cron: c.Cron, Site: c.Site, State: functions.Live,
		Limits: functions.Limits{Memory: c.Memory, Milliseconds: c.Time.Milliseconds(), Output: c.Output},
	}
	switch {
	case c.Shadow:
		d.State = functions.Shadow
	case c.Draft:
		d.State = functions.Stopped
	}
	name := c.Name
	if c.Worker {
		d.Kind = string(function.Worker)
	} else {
		if c.Path == "" {
			return usage("name the folder or the file of the function, or --worker")
		}
		code, err := readFunction(c.Path)
		if err != nil {
			return err
		}
		d.Code = code
		if path, err := filepath.Abs(c.Path); name == "" && err == nil {
			name = strings.TrimSuffix(filepath.Base(path), ".wasm")
		}
	}
	if !functionName(name) {
		return usage("--name must be 1 to 64 letters, digits, hyphens or underscores")
	}
	var out functions.Function
	if err := s.client.credentials(s.ctx, http.MethodPost, []string{"functions", name, "versions"}, nil, d, &out); err != nil {
		return err
	}
	v := out.Versions[len(out.Versions)-1]
	_, err := fmt.Fprintf(s.out, "version %d of %s is deployed, %s\n", v.Number, safe(name), v.State)
	return err
}

// functions asks for all functions.
func (s *session) functions() ([]functions.Function, error) {
	var all struct {
		Functions []functions.Function `json:"functions"`
	}
	err := s.client.credentials(s.ctx, http.MethodGet, []string{"functions"}, nil, nil, &all)
	return all.Functions, err
}

// function asks for one of them.
func (s *session) function(name string) (functions.Function, error) {
	all, err := s.functions()
	if err != nil {
		return functions.Function{}, err
	}
	i := slices.IndexFunc(all, func(f functions.Function) bool { return f.Name == name })
	if i < 0 {
		return functions.Function{}, fmt.Errorf("there is no function %s", safe(name))
	}
	return all[i], nil
}

type fnLsCmd struct {
	JSON bool `name:"json" help:"Write JSON."`
}

// Run lists the functions.
func (c *fnLsCmd) Run(s *session) error {
	all, err := s.functions()
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(map[string][]functions.Function{"functions": all})
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tLIVE\tSHADOW\tVERSIONS\tCALLS\tFAILED\tP50\tP99\tMEMORY\tWAITING\tPROBLEM")
	number := func(n int) string {
		if n == 0 {
			return "-"
		}
		return strconv.Itoa(n)
	}
	for _, f := range all {
		var failed uint64
		for _, n := range f.Counts.Failures {
			failed += n
		}
		problem := f.Problem
		if problem == "" && f.Counts.Last != nil {
			problem = f.Counts.Last.Reason + ": " + f.Counts.Last.Detail
		}
		took := func(seconds float64) time.Duration {
			return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%d\t%s\n", safe(f.Name), number(f.Live), number(f.Shadow), len(f.Versions),
			f.Counts.Calls, failed, took(f.Counts.P50), took(f.Counts.P99), ui.FormatBytes(f.Counts.Memory), f.Waiting, safe(problem))
	}
	return w.Flush()
}

type fnLogsCmd struct {
	Name string `arg:"" help:"Name of the function."`
}

// Run shows the log of a function.
func (c *fnLogsCmd) Run(s *session) error {
	f, err := s.function(c.Name)
	if err != nil {
		return err
	}
	for _, l := range f.Log {
		fmt.Fprintf(s.out, "%s  %s\n", l.At.UTC().Format(time.RFC3339), safe(l.Text))
	}
	return nil
}

type fnStateCmd struct {
	Name    string `arg:"" help:"Name of the function."`
	Version int    `arg:"" help:"Number of the version."`
	State   string `arg:"" enum:"live,shadow,draft" help:"live, shadow or draft."`
}

// Run changes what a version is for.
func (c *fnStateCmd) Run(s *session) error { return s.setState(c.Name, c.Version, c.State) }

func (s *session) setState(name string, version int, state string) error {
	at := []string{"functions", name, "versions", strconv.Itoa(version), "state"}
	if err := s.client.credentials(s.ctx, http.MethodPut, at, nil, map[string]string{"state": state}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "version %d of %s is %s\n", version, safe(name), state)
	return err
}

type fnRollbackCmd struct {
	Name string `arg:"" help:"Name of the function."`
}

// Run makes the version before the live one live.
func (c *fnRollbackCmd) Run(s *session) error {
	f, err := s.function(c.Name)
	if err != nil {
		return err
	}
	if f.Previous == 0 {
		return fmt.Errorf("%s has no version before the live one", safe(c.Name))
	}
	return s.setState(c.Name, f.Previous, string(functions.Live))
}

type fnRmCmd struct {
	Names []string `arg:"" name:"name" help:"Names of the functions."`
	Yes   bool     `short:"y" help:"Do not ask for confirmation."`
}

// Run deletes functions after a confirmation.
func (c *fnRmCmd) Run(s *session) error {
	if !c.Yes {
		if err := s.confirm(fmt.Sprintf("Delete %s? Their versions and what they keep are gone then; what they made stays.", safe(strings.Join(c.Names, ", ")))); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range c.Names {
		if err := s.client.credentials(s.ctx, http.MethodDelete, []string{"functions", name}, nil, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s is deleted\n", safe(name))
	}
	return errors.Join(errs...)
}
