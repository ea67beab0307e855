// The operator's and the user's command. One file a subject, in wattle/.

#include "launch/wattle/run_wattle.h"

int main(int argc, char** argv) { return wattle::run_wattle({argv, argv + argc}); }
