package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/adrg/xdg"
	"github.com/alecthomas/kong"

	"headwater/services/functions/guest"
	"headwater/services/internal/process"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitPartly = 3
)

// errPartly is returned by a command that succeeded in part.
var errPartly = errors.New("not every letter was redriven")

// environment is what a command reads and writes.
type environment struct {
	out, err io.Writer
	in       io.Reader
	// interactive reports whether in is a terminal.
	interactive bool
}

// cli is the whole command line.
type cli struct {
	Server string `help:"URL of the dashboard." default:"http://127.0.0.1:8080" env:"HEADWATER_SERVER" placeholder:"URL"`
	CA     string `name:"ca" help:"File of a further authority: headwater certs export." type:"path" env:"HEADWATER_CA" placeholder:"FILE"`
	// The token itself is no flag: the list of processes shows those.
	TokenFile string           `help:"File with a token (or HEADWATER_TOKEN) to log in with." type:"existingfile" env:"HEADWATER_TOKEN_FILE" placeholder:"FILE"`
	Version   kong.VersionFlag `help:"Print the version and exit."`

	DeadLetters struct {
		Ls      lsCmd      `cmd:"" help:"List dead letters, the newest first."`
		Show    showCmd    `cmd:"" help:"Show one dead letter with its cause and its original bytes."`
		Redrive redriveCmd `cmd:"" help:"Process dead letters again, after their cause is fixed."`
		Purge   purgeCmd   `cmd:"" help:"Delete dead letters permanently."`
	} `cmd:"" name:"deadletters" group:"A running Headwater:" help:"What was not processed: list, show, process again, delete."`
	Alerts struct {
		Ls      alertsLsCmd      `cmd:"" help:"List the alerts that are not resolved, the worst first."`
		Ack     alertsAckCmd     `cmd:"" help:"Acknowledge alerts: nobody is reminded of them any more."`
		Comment alertsCommentCmd `cmd:"" help:"Comment on an alert."`
		Assign  alertsAssignCmd  `cmd:"" help:"Say who takes care of an alert."`
		Resolve alertsResolveCmd `cmd:"" help:"Resolve alerts by hand."`
	} `cmd:"" group:"A running Headwater:" help:"What is abnormal: list, acknowledge, comment, assign, resolve."`
	Rules struct {
		Ls    rulesLsCmd    `cmd:"" help:"List the rules, how many series they match and how many alerts fire."`
		Show  rulesShowCmd  `cmd:"" help:"Show one rule with its YAML."`
		Apply rulesApplyCmd `cmd:"" help:"Create or change the rule of a file."`
		State rulesStateCmd `cmd:"" help:"Enable or mute a rule, or make it a draft."`
		Rm    rulesRmCmd    `cmd:"" help:"Delete rules."`
	} `cmd:"" group:"A running Headwater:" help:"What is watched: list, show, create, change, mute, delete."`
	Silence struct {
		Add silenceAddCmd `cmd:"" help:"Notify no one of some alerts, for a time or every week."`
		Ls  silenceLsCmd  `cmd:"" help:"List the silences in force and to come."`
		Rm  silenceRmCmd  `cmd:"" help:"End silences now."`
	} `cmd:"" group:"A running Headwater:" help:"Which alerts no one is notified of: add, list, end."`
	Channel struct {
		Ls     channelLsCmd     `cmd:"" help:"List the channels, and what became of the latest message of each."`
		Add    channelAddCmd    `cmd:"" help:"Make a channel."`
		Edit   channelEditCmd   `cmd:"" help:"Change a channel. What is not given stays as it is."`
		Rm     channelRmCmd     `cmd:"" help:"Delete channels that nothing names any more."`
		Test   channelTestCmd   `cmd:"" help:"Send a test through channels, and show what the other side answers."`
		Report channelReportCmd `cmd:"" help:"Send the morning report now."`
	} `cmd:"" group:"A running Headwater:" help:"Where notifications go: list, make, change, delete, send a test."`
	Oncall struct {
		Ls  oncallLsCmd  `cmd:"" help:"List who is on call, now and in the next two weeks."`
		Add oncallAddCmd `cmd:"" help:"Have somebody stand in."`
		Rm  oncallRmCmd  `cmd:"" help:"End overrides now."`
	} `cmd:"" group:"A running Headwater:" help:"Who is on call: list, stand in, end that."`
	Device struct {
		Add     deviceAddCmd     `cmd:"" help:"Make a credential and show its token, once."`
		Ls      deviceLsCmd      `cmd:"" help:"List the credentials, and what becomes of unknown devices."`
		Rotate  deviceRotateCmd  `cmd:"" help:"Give a credential a new token; the old one stays good for a while."`
		Revoke  deviceRevokeCmd  `cmd:"" help:"Close the connections of credentials and let nobody in with them."`
		Claim   deviceClaimCmd   `cmd:"" help:"Make a claim code, with which the person who sets a device up gets its password."`
		Merge   deviceMergeCmd   `cmd:"" help:"Rename a device, or have one continue another that was replaced."`
		Delete  deviceDeleteCmd  `cmd:"" help:"Delete devices with all their data."`
		Approve deviceApproveCmd `cmd:"" help:"Approve a device in quarantine, or let a revoked one in again."`
		Unknown deviceUnknownCmd `cmd:"" help:"Decide what becomes of devices without a credential."`
		Import  deviceImportCmd  `cmd:"" help:"Make credentials for the devices of a CSV file."`
	} `cmd:"" group:"A running Headwater:" help:"Who may connect: a credential for each device."`
	Edge struct {
		Invite edgeInviteCmd `cmd:"" help:"Print the line with which a Headwater at a site joins this one."`
		Ls     edgeLsCmd     `cmd:"" help:"List the edges, how far each has sent, and what that saved."`
		Set    edgeSetCmd    `cmd:"" help:"Change which readings an edge sends."`
		Gaps   edgeGapsCmd   `cmd:"" help:"Compare what an edge holds with what is here, hour by hour."`
		Repair edgeRepairCmd `cmd:"" help:"Have an edge send what is missing here."`
		Revoke edgeRevokeCmd `cmd:"" help:"Take nothing from edges any more."`
	} `cmd:"" group:"A running Headwater:" help:"Sites that send to this Headwater: invite, list, change, revoke."`
	Fn struct {
		New      fnNewCmd      `cmd:"" help:"Make the folder of a function in Go from a template."`
		Build    fnBuildCmd    `cmd:"" help:"Build the function of a folder to WebAssembly, with Go 1.24 or later."`
		Test     fnTestCmd     `cmd:"" help:"Run the batches of the folder testdata through a function, and compare with what it is to answer."`
		Deploy   fnDeployCmd   `cmd:"" help:"Deploy a version: live, as a shadow, or as a draft."`
		Ls       fnLsCmd       `cmd:"" help:"List the functions, what runs of each, and how it does."`
		Logs     fnLogsCmd     `cmd:"" help:"Show the latest lines of the log of a function."`
		State    fnStateCmd    `cmd:"" help:"Make a version live, run it as a shadow, or stop it."`
		Rollback fnRollbackCmd `cmd:"" help:"Make the version before the live one live."`
		Rm       fnRmCmd       `cmd:"" help:"Delete functions with their versions and their state."`
	} `cmd:"" group:"A running Headwater:" help:"Your own code on the readings: make, build, test, deploy, roll back."`
	Audit struct {
		Ls auditLsCmd `cmd:"" help:"List changes, the newest first."`
	} `cmd:"" group:"A running Headwater:" help:"Who changed what, when and from where."`
	User struct {
		Add   userAddCmd   `cmd:"" help:"Add a person, and print the link that sets the password."`
		Ls    userLsCmd    `cmd:"" help:"List the people who may log in."`
		Rm    userRmCmd    `cmd:"" help:"Delete people, who are logged out at once."`
		Reset userResetCmd `cmd:"" help:"Void a password, end all sessions, and print a link that sets another password."`
	} `cmd:"" group:"A running Headwater:" help:"Who may log in to the dashboard: add, list, delete, reset the password."`
	Token struct {
		Add tokenAddCmd `cmd:"" help:"Create a token and print it."`
		Ls  tokenLsCmd  `cmd:"" help:"List the tokens."`
		Rm  tokenRmCmd  `cmd:"" help:"Delete tokens, which are refused at once."`
	} `cmd:"" group:"A running Headwater:" help:"What programs log in with, this one too: create, list, delete."`
	Replay replayCmd `cmd:"" group:"A running Headwater:" help:"Show which alerts a rule would have raised on the stored readings."`

	Certs struct {
		Show   certsShowCmd   `cmd:"" help:"Show the authority of --tls auto with its fingerprint."`
		Export certsExportCmd `cmd:"" help:"Write the certificate that phones, computers and devices are to trust."`
		Client certsClientCmd `cmd:"" help:"Make a certificate with which a device logs in."`
	} `cmd:"" group:"Files:" help:"The authority of --tls auto: show, export, make a certificate for a device."`
	Check   checkCmd   `cmd:"" group:"Files:" help:"Check configuration files: each problem with file, line and field."`
	Schema  schemaCmd  `cmd:"" group:"Files:" help:"Print the JSON Schema of configuration files, for editors."`
	Decode  decodeCmd  `cmd:"" group:"Files:" help:"Show which readings a topic and a payload become, or what to change."`
	Detect  detectCmd  `cmd:"" group:"Files:" help:"Score your own CSV files with a detector, row by row: headwater detect --out scores *.csv"`
	Cost    costCmd    `cmd:"" group:"Files:" help:"Compare what a managed cloud costs for all readings with deciding at the site."`
	Quality qualityCmd `cmd:"" group:"Files:" help:"Score the detectors on folders of labelled series."`
	Secrets secretsCmd `cmd:"" group:"Files:" help:"Create the passwords and keys for an installation of separate services."`
}

// session is the context of one command.
type session struct {
	environment
	ctx    context.Context
	client *client
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, env environment, args []string) int {
	var flags cli
	flags.Detect.tuning, flags.Quality.tuning = newTuning(), newTuning()
	exited, code := false, exitDone
	parser, err := kong.New(&flags,
		kong.Name("headwater"), kong.Description("Works with a running Headwater, and with its configuration and data files."),
		kong.Vars{"version": process.Describe(), "templates": strings.Join(guest.Templates(), ","), "user": userName(), "data": filepath.Join(xdg.DataHome, "headwater"), "detectors": strings.Join(detectorNames, ", ")}, kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(env.out, env.err), kong.Exit(func(c int) { exited, code = true, c }))
	if err != nil {
		return env.fail(exitUsage, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited { // --help and --version
		return code
	}
	if err != nil {
		return env.fail(exitUsage, fmt.Errorf("%w (--help lists the commands)", err))
	}
	token, err := flags.token()
	if err != nil {
		return env.fail(exitUsage, err)
	}
	client, err := newClient(flags.Server, flags.CA, token)
	if err != nil {
		return env.fail(exitUsage, err)
	}
	err = command.Run(&session{environment: env, ctx: ctx, client: client})
	if err == nil {
		return exitDone
	}
	if _, ok := errors.AsType[usage](err); ok {
		return env.fail(exitUsage, err)
	}
	if errors.Is(err, errPartly) {
		return env.fail(exitPartly, err)
	}
	return env.fail(exitFailed, err)
}

func (e environment) fail(code int, err error) int {
	fmt.Fprintf(e.err, "headwater: %v\n", err)
	return code
}

// usage is the error of a wrong command line.
type usage string

// Error says what is wrong with it.
func (u usage) Error() string { return string(u) }

// confirm asks the person at the terminal. Anything but yes is an error.
func (e environment) confirm(question string) error {
	if !e.interactive {
		return usage("not a terminal: pass --yes")
	}
	fmt.Fprintf(e.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(e.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

// read returns the content of a file, or of standard input for -, and what to call it in messages.
// More than so many bytes are an error.
func (e environment) read(file string, most int64) (name string, content []byte, err error) {
	in := e.in
	name = "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", nil, err
		}
		defer f.Close()
		in, name = f, file
	}
	content, err = io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", name, err)
	}
	return name, content, nil
}

// json writes a value for another program.
func (e environment) json(v any) error {
	encoder := json.NewEncoder(e.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// safe returns a text from a device as one line without control characters, which would
// affect a terminal.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) { // no-break spaces too
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
