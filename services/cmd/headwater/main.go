// Command headwater is for people who run Headwater. It talks to a dashboard over HTTP:
//
//	headwater deadletters ls --service bridge
//	headwater deadletters show 41
//	headwater deadletters redrive --service bridge --reason topic
//	headwater deadletters purge 41 42
//	headwater replay -f rule.yaml --from 24h
//
// It also tries the detectors on files, for which nothing has to run:
//
//	headwater detect --out scores cold-room.csv
//	headwater quality labelled
//
// It exits with 0 if everything succeeded, 1 after an error, 2 if the command line is
// wrong, and 3 if some dead letters could not be redriven.
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
