// Command headwater is for people who run Headwater: it asks a dashboard over
// HTTP, wherever that is, and does what they decide:
//
//	headwater deadletters ls --service bridge
//	headwater deadletters show 41
//	headwater deadletters redrive --service bridge --reason topic
//	headwater deadletters purge 41 42
//	headwater replay -f rule.yaml --from 24h
//
// and it tries the detectors on files, for which nothing has to run:
//
//	headwater detect --out scores cold-room.csv
//	headwater quality labelled
//
// It exits with 0 when all was done, 1 when something went wrong, 2 when the
// command can't be understood, and 3 when not every letter could be redriven.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	env := environment{
		out: os.Stdout, err: os.Stderr, in: os.Stdin,
		interactive: term.IsTerminal(int(os.Stdin.Fd())),
	}
	code := run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}
