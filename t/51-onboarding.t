#!/usr/bin/perl
# A newcomer's machine learns to trust the proxy from mitm.it alone, and a sourced script harms no shell.
use v5.36;
use Test::More;
plan skip_all => "being written";
