// Command composeverify runs deploy/compose for real and checks what it promises.
package main

import (
	"context"
	"fmt"
	"os"
)

func main() {
	ctx := context.Background()
	e, err := newEngine(ctx, os.Stderr)
	if err == nil {
		var root string
		if root, err = repository(ctx, e); err == nil {
			_, err = standIns(ctx, e, root)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
