// Package figure formats numbers, durations and texts that are too long for people:
// in one way for pages, sentences, notifications and the command line. It is pure.
// web/static/figure.js does the same in the browser.
package figure

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bounds of the numbers written without an exponent; beyond them an exponent is
// easier to read than the zeros.
const (
	// exact is 2^53: below it a float64 represents every whole number exactly.
	exact = 1 << 53
	// least is the smallest fraction without an exponent.
	least = 1e-6
)

// Number returns v as people read it: whole numbers below 2^53 with all their
// digits, fractions with about four digits. From five digits on, a narrow space
// separates groups of three; the minus is U+2212. There is no -0.
func Number(v float64) string { return number(v, 0) }

// Exact returns v with enough digits to distinguish it from every other number,
// for numbers that people have written themselves.
func Exact(v float64) string { return number(v, 2*maxDigits) }

// Apart formats v and others as Number does, but with as many more digits as it
// takes to show that v differs from each number that it does differ from.
func Apart(v float64, others ...float64) []string {
	out := make([]string, 1+len(others))
	for more := 0; ; more++ {
		out[0] = number(v, more)
		distinct := true
		for i, o := range others {
			out[i+1] = number(o, more)
			distinct = distinct && (o == v || out[i+1] != out[0] || more > 2*maxDigits)
		}
		if distinct {
			return out
		}
	}
}

// maxDigits is enough for every float64.
const maxDigits = 17

// number is Number with more digits.
func number(v float64, more int) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 0):
		return sign(v, "∞")
	case a == 0:
		return "0"
	case a >= exact || a < least:
		return sign(v, exponent(a, min(maxDigits, 4+more)))
	}
	decimals := 3
	switch {
	case a >= 10_000:
		decimals = 0
	case a >= 1000:
		decimals = 1
	case a >= 10:
		decimals = 2
	case a < 0.1:
		decimals = 2 - int(math.Floor(math.Log10(a)))
	}
	whole, fraction, _ := strings.Cut(round(strconv.FormatFloat(a, 'f', -1, 64), decimals+more), ".")
	if fraction == "" {
		return sign(v, Group(whole))
	}
	return sign(v, Group(whole)+"."+fraction)
}

// round rounds a decimal number to at most that many decimals and drops zeros
// at its end. It rounds a half as written up: people see decimals, not bits.
func round(s string, decimals int) string {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) <= decimals {
		return s
	}
	// 17 digits of a float64 fit.
	n, _ := strconv.ParseUint(whole+fraction[:decimals], 10, 64)
	if fraction[decimals] >= '5' {
		n++
	}
	s = fmt.Sprintf("%0*d", decimals+1, n)
	point := len(s) - decimals
	return strings.TrimRight(strings.TrimRight(s[:point]+"."+s[point:], "0"), ".")
}

// exponent formats a as in 1.235e+21, with at most that many digits.
func exponent(a float64, digits int) string {
	mantissa, power, _ := strings.Cut(strconv.FormatFloat(a, 'e', -1, 64), "e")
	n, _ := strconv.Atoi(power)
	mantissa = round(mantissa, digits-1)
	if mantissa == "10" {
		mantissa, n = "1", n+1
	}
	if n < 0 {
		return mantissa + "e−" + strconv.Itoa(-n)
	}
	return mantissa + "e+" + strconv.Itoa(n)
}

func sign(v float64, s string) string {
	if v < 0 {
		return "−" + s
	}
	return s
}

// Group separates groups of three digits by a narrow space, from five digits
// on.
func Group(digits string) string {
	if len(digits) < 5 {
		return digits
	}
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString("\u202f")
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Count returns a whole number with its digits grouped.
func Count(n uint64) string { return Group(strconv.FormatUint(n, 10)) }

// Plural returns a number of things, such as "1 rule" or "12 345 rules"; a
// negative number counts as 0.
func Plural[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(uint64(max(0, n))) + " " + many
}

// Zero returns v, but 0 for -0, which JSON would show.
func Zero(v float64) float64 {
	if v == 0 {
		return 0
	}
	return v
}
