package expression_test

import (
	"fmt"

	"headwater/services/rule/expression"
)

// A condition is compiled once. To evaluate it, pass the latest value of each of its
// Names, then the answer to each of its Calls.
func ExampleCompile() {
	p, err := expression.Compile(`temperature > outside + 5 and avg("temperature", "10m") > 8`)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(p.Names())
	fmt.Println(p.Calls())

	var scratch expression.Scratch
	fmt.Println(p.Eval(&scratch, []float64{21, 15, 8.5}))
	fmt.Println(p.Eval(&scratch, []float64{21, 17, 8.5}))

	_, err = expression.Compile("temperature + 5")
	fmt.Println(err)
	// Output:
	// [temperature outside]
	// [avg("temperature", "10m")]
	// true <nil>
	// false <nil>
	// is a number and not a condition: compare it with something
}
