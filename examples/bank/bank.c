/*
 * bank.c
 *		An extension whose accounts are actors.
 *
 * An account takes deposits and withdrawals and tells its balance.  While it
 * is frozen, what comes waits for it to be thawed, in its order.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "dlog/actor.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

/* What an account can be told and asked. */
DLOG_MESSAGE(Deposit, value(int64, amount));
DLOG_MESSAGE(Withdraw, value(int64, amount));
DLOG_MESSAGE(Freeze);
DLOG_MESSAGE(Thaw);
DLOG_MESSAGE(Balance, value(int64, amount), value(int64, refused));
DLOG_REQUEST(GetBalance, Balance);

/* Its state: what is copied into each new one, and its handlers'. */
typedef struct AccountState
{
	int64 balance;
	int64 refused; /* withdrawals of more than there was */
} AccountState;

#define ACCOUNT_TAKES Deposit, Withdraw, Freeze, Thaw, GetBalance
DLOG_BEHAVIOR(Account, AccountState, ACCOUNT_TAKES);

DLOG_HANDLER(Account, Deposit)
{
	state->balance += message->amount;
}

DLOG_HANDLER(Account, Withdraw)
{
	if (message->amount > state->balance)
		state->refused++;
	else
		state->balance -= message->amount;
}

DLOG_HANDLER(Account, GetBalance)
{
	dlog_reply(self, GetBalance, .amount = state->balance, .refused = state->refused);
}

/* While it is frozen another table handles what comes. */
extern DlogBehavior Account_frozen_behavior;

DLOG_HANDLER(Account, Freeze)
{
	dlog_become(self, Account, frozen);
}

DLOG_HANDLER(Account, Thaw)
{
	/* it is not frozen */
}

DLOG_IMPLEMENT(Account, ACCOUNT_TAKES);

DLOG_HANDLER_IN(Account, frozen, Deposit)
{
	dlog_stash(self);
}

DLOG_HANDLER_IN(Account, frozen, Withdraw)
{
	dlog_stash(self);
}

DLOG_HANDLER_IN(Account, frozen, GetBalance)
{
	dlog_reply(self, GetBalance, .amount = state->balance, .refused = state->refused);
}

DLOG_HANDLER_IN(Account, frozen, Freeze)
{
	/* it is */
}

DLOG_HANDLER_IN(Account, frozen, Thaw)
{
	dlog_become_first(self, Account);
	dlog_unstash(self);
}

DLOG_IMPLEMENT_TABLE(Account, frozen, ACCOUNT_TAKES);

void
_PG_init(void)
{
	DLOG_REGISTER("bank", Account, Account_frozen);
}

/* ------------------------------------------------------------------- SQL */

PG_FUNCTION_INFO_V1(bank_open);
PG_FUNCTION_INFO_V1(bank_deposit);
PG_FUNCTION_INFO_V1(bank_withdraw);
PG_FUNCTION_INFO_V1(bank_freeze);
PG_FUNCTION_INFO_V1(bank_thaw);
PG_FUNCTION_INFO_V1(bank_balance);

/* The account with the name that is the first argument. */
static Account_ref
account_arg(FunctionCallInfo fcinfo)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Account_ref account;

	if (!dlog_whereis(dlog_session(), Account, name, &account))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("account \"%s\" does not exist", name)));
	return account;
}

Datum
bank_open(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Account_ref account = dlog_spawn(session, Account, .balance = 0);

	if (!dlog_register(session, name, account))
	{
		dlog_exit(session, account, "not needed");
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("account \"%s\" already exists", name)));
	}
	PG_RETURN_VOID();
}

Datum
bank_deposit(PG_FUNCTION_ARGS)
{
	dlog_send(dlog_session(), account_arg(fcinfo), Deposit, .amount = PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

Datum
bank_withdraw(PG_FUNCTION_ARGS)
{
	dlog_send(dlog_session(), account_arg(fcinfo), Withdraw, .amount = PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

Datum
bank_freeze(PG_FUNCTION_ARGS)
{
	dlog_send(dlog_session(), account_arg(fcinfo), Freeze);
	PG_RETURN_VOID();
}

Datum
bank_thaw(PG_FUNCTION_ARGS)
{
	dlog_send(dlog_session(), account_arg(fcinfo), Thaw);
	PG_RETURN_VOID();
}

Datum
bank_balance(PG_FUNCTION_ARGS)
{
	Balance balance;

	if (dlog_ask(dlog_session(), account_arg(fcinfo), GetBalance, 10000, &balance) != DLOG_OK)
		ereport(ERROR,
				(errmsg("the account does not answer")));
	PG_RETURN_INT64(balance.amount);
}
