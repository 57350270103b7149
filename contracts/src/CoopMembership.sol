// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {ERC721Votes} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Votes.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

import {ICoopMembership, IERC5192} from "./ICoopMembership.sol";

/// @title CoopMembership
/// @notice {ICoopMembership} is the specification.
contract CoopMembership is ERC721Votes, ICoopMembership {
    /* IMMUTABLES */

    /// @inheritdoc ICoopMembership
    address public immutable registrar;

    /* STORAGE */

    uint256 private _lastTokenId;
    mapping(address member => uint256) private _tokenOf;
    mapping(uint256 tokenId => Class) private _classOf;

    /* CONSTRUCTION */

    /// @param registrar_ The only address that will ever admit and remove members.
    constructor(address registrar_) ERC721("StreamCoop Membership", "COOP") EIP712("StreamCoop Membership", "1") {
        if (registrar_ == address(0)) revert RegistrarMissing();
        registrar = registrar_;
    }

    modifier onlyRegistrar() {
        if (msg.sender != registrar) revert NotRegistrar(msg.sender);
        _;
    }

    /* ONLY REGISTRAR FUNCTIONS */

    /// @inheritdoc ICoopMembership
    function admit(address member, Class class) external onlyRegistrar returns (uint256 tokenId) {
        if (class == Class.None) revert ClassMissing();
        if (isMember(member)) revert AlreadyMember(member);

        tokenId = ++_lastTokenId;
        _tokenOf[member] = tokenId;
        _classOf[tokenId] = class;
        // Not _safeMint: it would call the member, and a member that is a contract could then refuse or re-enter.
        _mint(member, tokenId);
        // Votes count only once delegated. Whoever was a member before is still their own delegate, and this changes
        // nothing for them.
        _delegate(member, member);

        emit Locked(tokenId);
        emit MemberAdmitted(member, tokenId, class);
    }

    /// @inheritdoc ICoopMembership
    function remove(address member) external onlyRegistrar {
        uint256 tokenId = _tokenOf[member];
        if (tokenId == 0) revert NotMember(member);

        delete _tokenOf[member];
        _burn(tokenId);

        emit MemberRemoved(member, tokenId);
    }

    /* VIEWS */

    /// @inheritdoc ICoopMembership
    function totalSupply() external view returns (uint256) {
        return _getTotalSupply();
    }

    /// @inheritdoc ICoopMembership
    function isMember(address member) public view returns (bool) {
        return _tokenOf[member] != 0;
    }

    /// @inheritdoc ICoopMembership
    function tokenOf(address member) external view returns (uint256 tokenId) {
        return _tokenOf[member];
    }

    /// @inheritdoc ICoopMembership
    function classOf(uint256 tokenId) external view returns (Class) {
        return _classOf[tokenId];
    }

    /// @inheritdoc IERC5192
    function locked(uint256 tokenId) external view returns (bool) {
        _requireOwned(tokenId);
        return true;
    }

    /// @inheritdoc IERC6372
    function clock() public view override(Votes, IERC6372) returns (uint48) {
        return Time.timestamp();
    }

    /// @inheritdoc IERC6372
    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override(Votes, IERC6372) returns (string memory) {
        return "mode=timestamp";
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC721, IERC165) returns (bool) {
        return
            interfaceId == type(IERC5192).interfaceId ||
            interfaceId == type(IERC6372).interfaceId ||
            interfaceId == type(IVotes).interfaceId ||
            super.supportsInterface(interfaceId);
    }

    /* WHAT A MEMBERSHIP CANNOT DO */

    /// @inheritdoc IERC721
    function approve(address, uint256) public pure override(ERC721, IERC721) {
        revert Soulbound();
    }

    /// @inheritdoc IERC721
    function setApprovalForAll(address, bool) public pure override(ERC721, IERC721) {
        revert Soulbound();
    }

    /// @dev Every way to move a token ends here. Only issuing (from nobody) and destroying (to nobody) may pass.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address) {
        if (to != address(0) && _ownerOf(tokenId) != address(0)) revert Soulbound();
        return super._update(to, tokenId, auth);
    }

    /// @dev Every way to delegate ends here.
    function _delegate(address account, address delegatee) internal override {
        if (delegatee != account) revert DelegationDisabled(account, delegatee);
        super._delegate(account, delegatee);
    }
}
